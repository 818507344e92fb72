use std::os::unix::net::UnixListener;
use std::thread;

use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn in_a_moment() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

/// A connection to a server that does what it is told with its end.
fn with_server<T: Send + 'static>(
    serve: impl FnOnce(UnixStream) -> T + Send + 'static,
) -> (Result<Connection, Trouble>, thread::JoinHandle<T>) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = thread::spawn(move || serve(listener.accept().unwrap().0));
    (Connection::open(&socket, soon()), server)
}

/// Reads the opening, answers it.
fn shake_hands(stream: &mut UnixStream) {
    stream.read_exact(&mut vec![0; websocket::OPENING.len()]).unwrap();
    stream.write_all(ANSWER).unwrap();
}

#[test]
fn a_deadline_leaves_a_connection_that_is_still_good() {
    let (connection, server) = with_server(|mut stream| {
        shake_hands(&mut stream);
        let mut request = [0; 8];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(&[0x81, 2, b'{']).unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        stream.write_all(b"}").unwrap();
        request
    });
    let mut connection = connection.unwrap();
    connection.send(b"{}", soon()).unwrap();
    assert!(matches!(connection.receive(in_a_moment()), Err(Trouble::Late)));
    connection.send(b"{}", soon()).unwrap();
    assert_eq!(connection.receive(soon()).unwrap(), b"{}");
    assert_eq!(server.join().unwrap(), [0x81, 0x82, 0, 0, 0, 0, b'{', b'}']);
    assert!(matches!(connection.receive(soon()), Err(Trouble::Broken(_))));
    // Nothing is written to a connection that is known to be lost.
    assert!(matches!(connection.send(b"{}", soon()), Err(Trouble::Broken(_))));
}

#[test]
fn pings_are_answered() {
    let (connection, server) = with_server(|mut stream| {
        shake_hands(&mut stream);
        stream.write_all(&[0x89, 1, b'p', 0x81, 2, b'{', b'}']).unwrap();
        let mut pong = [0; 7];
        stream.read_exact(&mut pong).unwrap();
        pong
    });
    assert_eq!(connection.unwrap().receive(soon()).unwrap(), b"{}");
    assert_eq!(server.join().unwrap(), [0x8a, 0x81, 0, 0, 0, 0, b'p']);
}

#[test]
fn a_server_that_does_not_read_breaks_the_connection_in_time() {
    let (connection, server) = with_server(|mut stream| {
        shake_hands(&mut stream);
        stream
    });
    let mut connection = connection.unwrap();
    let stream = server.join().unwrap();
    // Long enough for a part of it to be sent, however busy the machine is.
    let deadline = Instant::now() + Duration::from_secs(3);
    let sent = connection.send(&vec![b'x'; 8 * 1024 * 1024], deadline);
    assert!(matches!(sent, Err(Trouble::Broken(_))), "{sent:?}");
    drop(stream);
}

#[test]
fn garbage_and_silence_are_told_apart() {
    let (connection, server) = with_server(|mut stream| stream.write_all(b"hello\r\n\r\n"));
    assert!(matches!(connection, Err(Trouble::Garbage(_))));
    let _ = server.join();

    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    assert!(matches!(Connection::open(&socket, soon()), Err(Trouble::Broken(_))));
    let listener = UnixListener::bind(&socket).unwrap();
    assert!(matches!(Connection::open(&socket, in_a_moment()), Err(Trouble::Late)));
    drop(listener);
    // The socket of a server that was killed.
    assert!(matches!(Connection::open(&socket, soon()), Err(Trouble::Broken(_))));
}
