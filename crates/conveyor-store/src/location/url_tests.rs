use super::*;

fn server(url: &str) -> ServerUrl {
    ServerUrl::parse(url, &ServerDefaults::default()).unwrap()
}

fn refused(url: &str) -> String {
    ServerUrl::parse(url, &ServerDefaults::default()).unwrap_err().to_string()
}

#[test]
fn a_password_is_never_shown() {
    let url = server("postgres://ann:s3cret@db.example:5433/ledger?password=other&sslmode=require");
    assert_eq!(url.shown, "postgres://ann@db.example:5433/ledger?sslmode=require");
    assert_eq!(url.tls.mode, SslMode::Require);
    assert_eq!(url.config.get_password(), Some(b"other".as_slice()));
    assert_eq!(server("postgres://db/ledger").shown, "postgres://db/ledger");
    assert_eq!(server("POSTGRES://ann:s3cret@db/x").shown, "postgres://ann@db/x");
}

#[test]
fn no_refusal_shows_a_password() {
    for url in [
        "postgres://ann:s3cret@host:notaport/x",
        "postgres://ann:s3cret",
        "postgres://ann:s3cret@h/x?sslmode=maybe",
        "postgres://ann:s3cret@h/x?sslpassword=s3cret",
        "postgres://ann:s3cret/s3cret@h/x",
        "postgres://ann:12/s3cret@h/x",
        "postgres://ann:s3cret?s3cret@h/x",
        "postgres://ann:12?s3cret@h/x",
        "postgres://ann:a@s3cret@h/x",
        "postgres://ann@h/x?s3cret",
        "postgres://ann:s3cret%ff@h/x",
        "postgres://ann:s3cret@h/x?port=s3cret",
        "postgres://ann:s3cret@h/x?connect_timeout=s3cret",
    ] {
        let text = refused(url);
        assert!(!text.contains("s3cret"), "{url}: {text}");
    }
}

#[test]
fn letters_that_separate_nothing_may_stand_in_a_password() {
    let password = |url| String::from_utf8(server(url).config.get_password().unwrap().to_vec()).unwrap();
    assert_eq!(password("postgres://ann:a:b#c@h/x"), "a:b#c");
    assert_eq!(password("postgres://ann:a%2Fb%40c%27%5C@h/x"), "a/b@c'\\");
}

#[test]
fn hosts_and_ports_are_read_as_libpq_does() {
    let url = server("postgres://%2Frun%2Fx,db,[::1]:5433/d%20b");
    assert_eq!(url.config.get_hosts().len(), 3);
    assert_eq!(url.config.get_ports(), [5432, 5432, 5433]);
    assert_eq!(url.config.get_dbname(), Some("d b"));
    assert_eq!(server("postgres:///x").schema, "conveyor");
    assert_eq!(server("postgres:///x?options=-csearch_path%3Dteam_a,public").schema, "team_a");
    assert_eq!(
        server("postgres:///x").config.get_hosts(),
        [postgres::config::Host::Unix(DEFAULT_SOCKET.into())]
    );
}

#[test]
fn the_environment_counts_for_what_the_url_leaves_open() {
    let defaults = ServerDefaults::default()
        .with("PGHOST", "/run/x y")
        .with("PGPORT", "6543")
        .with("PGUSER", "ann")
        .with("PGDATABASE", "ledger")
        .with("PGOPTIONS", "-c search_path=team_b")
        .with("PGAPPNAME", "me")
        .with("PGSSLMODE", "verify-ca")
        .with("PGSSLROOTCERT", "/etc/roots.pem");
    let all = ServerUrl::parse("postgres://", &defaults).unwrap();
    assert_eq!(all.config.get_hosts(), [postgres::config::Host::Unix("/run/x y".into())]);
    assert_eq!((all.config.get_user(), all.config.get_dbname()), (Some("ann"), Some("ledger")));
    assert_eq!((all.config.get_ports(), all.schema.as_str()), ([6543].as_slice(), "team_b"));
    assert_eq!((all.tls.mode, all.tls.roots.clone()), (SslMode::VerifyCa, Some("/etc/roots.pem".into())));
    // What others are told to use is complete without the environment.
    let again = server(&all.shown);
    assert_eq!(again.shown, all.shown);
    assert_eq!(again.config.get_hosts(), all.config.get_hosts());
    assert_eq!((again.schema, again.tls.mode), (all.schema, all.tls.mode));
    let none = ServerUrl::parse(
        "postgres://bob@db:1/x?sslmode=disable&options=-cgeqo%3Doff&sslrootcert=/r",
        &defaults,
    )
    .unwrap();
    assert_eq!(none.shown, "postgres://bob@db:1/x?sslmode=disable&options=-cgeqo%3Doff&sslrootcert=/r");
    assert_eq!((none.config.get_user(), none.config.get_ports()), (Some("bob"), [1].as_slice()));
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    for (name, value, harmless) in [
        ("PGSERVICE", "prod", None),
        ("PGREQUIREAUTH", "scram-sha-256", None),
        ("PGSSLCRL", "/x", None),
        ("PGSSLMINPROTOCOLVERSION", "TLSv1.3", Some("TLSv1.2")),
        ("PGGSSENCMODE", "require", Some("prefer")),
        ("PGSSLMODE", "strict", Some("require")),
        ("PGPORT", "http", Some("1")),
        ("PGTARGETSESSIONATTRS", "primary", Some("read-write")),
    ] {
        let with =
            |value: &str| ServerUrl::parse("postgres://h/x", &ServerDefaults::default().with(name, value));
        let text = with(value).unwrap_err().to_string();
        assert!(text.contains(name), "{text}");
        assert!(harmless.is_none_or(|harmless| with(harmless).is_ok()), "{name}");
    }
    for url in [
        "postgres:///x?sslmode=maybe",
        "postgres:///x?sslcrl=/x",
        "postgres:///x?service=prod",
        "postgres:///x?gssencmode=require",
        "postgres:///x?requirepeer=postgres",
        "postgres:///x?sslcert=/x",
        "postgres:///x?sslrootcert=system&sslmode=require",
    ] {
        let name = url.split(['?', '=']).nth(1).unwrap();
        assert!(refused(url).contains(name), "{}", refused(url));
    }
    assert!(ServerUrl::parse("postgres:///x?client_encoding=utf8", &ServerDefaults::default()).is_ok());
    assert_eq!(server("postgres:///x?sslrootcert=system").tls.mode, SslMode::VerifyFull);
}
