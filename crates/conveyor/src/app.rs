//! One run: which command, with which arguments, on which ledger.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conveyor_core::legacy::Place;
use conveyor_core::{Cx, Tmux};
use conveyor_store::{Access, Db, OpenOptions};

use crate::commands::{self, DbPath};
use crate::failure::Failure;
use crate::grammar::{self, Request};
use crate::out::Out;
use crate::{Host, help};

/// What a command works with.
pub struct App<'h> {
    /// The surroundings.
    pub host: &'h mut Host,
    /// The command and all that followed it.
    pub arguments: &'h [OsString],
    /// What standard input said, once it was read for a text.
    pub(crate) standard_input: Option<String>,
}

pub(crate) fn run(arguments: &[OsString], host: &mut Host) -> Result<(), Failure> {
    let program = help::program_name(arguments.first(), host);
    let mut rest = arguments.get(1..).unwrap_or_default();
    if rest.first().is_some_and(|first| first == "--ts-runtime") {
        rest = &rest[1..];
    }
    let first = rest.first().map(|first| first.to_string_lossy().into_owned());
    let name = match first.as_deref() {
        None | Some("-h" | "--help") => return Out::new(host).raw(&help::overview(program)),
        Some("-V" | "--version") => {
            return Out::new(host).line(&format!("conveyor {}", env!("CARGO_PKG_VERSION")));
        }
        Some(name) => name.to_owned(),
    };
    let Some(spec) = commands::find(&name) else { return Err(unknown_command(program, &name)) };
    let tree = help::called_tree(spec, program, &name);
    let mut app = App { host, arguments: rest, standard_input: None };
    let mut read = |option: &str, file: &str| app.text_of_file(option, file);
    match grammar::parse(tree.clone(), spec.foreign.as_ref(), &rest[1..], &mut read)? {
        Request::Help => {
            let text = help::of_command(tree, app.host.stdout_takes_colour);
            app.out().raw(&text)
        }
        Request::Run(matches) => {
            (spec.run)(&matches, &mut app).map_err(|failure| failure.on(app.named_ledger(&matches)))
        }
    }
}

/// Reads a command line as [`run`] does, without running it.
pub(crate) fn check(words: &[String]) -> Result<(), Failure> {
    let program = "conveyor";
    let Some((name, rest)) = words.split_first() else { return Ok(()) };
    let spec = commands::find(name).ok_or_else(|| unknown_command(program, name))?;
    let rest: Vec<OsString> = rest.iter().map(Into::into).collect();
    // Of a text from a file nothing is known here but that it is one.
    let mut read = |_: &str, _: &str| Ok("text".to_owned());
    grammar::parse(help::command_tree(spec, program), spec.foreign.as_ref(), &rest, &mut read).map(drop)
}

fn unknown_command(program: &str, name: &str) -> Failure {
    if name.starts_with('-') {
        return Failure::usage(format!(
            "{name} stands before the command: write `{program} <command> … {name} …`"
        ));
    }
    let names = commands::COMMANDS.iter().flat_map(|spec| spec.names());
    let advice = grammar::closest(name, names).map_or_else(
        || format!("see `{program} --help`"),
        |near| format!("did you mean `{program} {near}`?"),
    );
    Failure::usage(format!("unknown command {name:?}: {advice}"))
}

impl App<'_> {
    /// Standard output.
    pub fn out(&mut self) -> Out<'_> {
        Out::new(self.host)
    }

    /// Opens the ledger that `--path`, the environment or the state root names.
    ///
    /// # Errors
    /// A malformed URL, or a ledger that cannot be opened.
    pub fn open(&mut self, db: &DbPath, access: Access) -> Result<Cx, Failure> {
        let (location, options, tmux) = (self.location(db)?, self.open_options()?, self.tmux()?);
        let db = Db::open(&location, access, options)?;
        Ok(Cx { db, cwd: self.base(), parent_pid: self.host.parent_pid, tmux })
    }

    /// The state root with its legacy workers, and the ledger, which is opened when it is needed.
    ///
    /// # Errors
    /// A malformed URL.
    pub fn place(&self, db: &DbPath) -> Result<Place, Failure> {
        let ledger = (self.location(db)?, self.open_options()?);
        Ok(Place::new(self.state_root()?, self.tmux()?, ledger, self.base(), self.host.parent_pid))
    }

    fn open_options(&self) -> Result<OpenOptions, Failure> {
        let environment = &self.host.environment;
        environment.decodable(&["PGPASSWORD"])?;
        Ok(OpenOptions {
            clock: Arc::clone(&self.host.clock),
            ids: Arc::clone(&self.host.ids),
            machine: environment.machine.clone(),
            server_password: environment.server_password.clone(),
            password_file: environment.password_file.clone(),
        })
    }

    /// The terminals; nothing is started before something is asked.
    ///
    /// # Errors
    /// An environment variable that is no text.
    pub fn tmux(&self) -> Result<Tmux, Failure> {
        let environment = &self.host.environment;
        environment.decodable(&["TMUX", "TMUX_PANE", "TMUX_TMPDIR"])?;
        let program = environment.tmux.as_deref().unwrap_or("tmux".as_ref());
        Ok(Tmux::new(program, environment.tmux_server.clone()))
    }

    /// tmux as a shell finds it.
    #[must_use]
    pub fn tmux_program(&self) -> Option<PathBuf> {
        let environment = &self.host.environment;
        match &environment.tmux {
            Some(given) => Some(given.clone()).filter(|given| given.is_file()),
            None => environment.program("tmux"),
        }
    }

    /// The directory of the running program.
    #[must_use]
    pub fn program_dir(&self) -> Option<PathBuf> {
        self.host.environment.executable.as_deref().and_then(Path::parent).map(Path::to_owned)
    }
}
