//! One connection to the socket of a server: whole messages in and out, each with a deadline.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use super::websocket::{self, Decoder, Incoming};

/// Why a message could not be sent or received.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The deadline passed; the connection is still good.
    Late,
    /// The connection is of no use any more. What was being sent did not arrive: part of a frame is no
    /// message.
    Broken(String),
    /// The other side does not speak the protocol; the connection is of no use any more.
    Garbage(String),
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    broken: Option<String>,
}

impl Connection {
    /// Connects and shakes hands. `Trouble::Late` also stands for a server that does not accept.
    pub(super) fn open(socket: &Path, deadline: Instant) -> Result<Self, Trouble> {
        let stream = connect(socket, deadline)?;
        let mut connection = Self { stream, decoder: Decoder::default(), broken: None };
        connection.write(websocket::OPENING, deadline)?;
        match connection.incoming(deadline)? {
            Incoming::Opened => Ok(connection),
            _ => Err(Trouble::Garbage("a message before the handshake".into())),
        }
    }

    /// The process at the other end, where the system tells.
    pub(super) fn peer(&self) -> Option<u32> {
        #[cfg(target_os = "linux")]
        {
            let peer = rustix::net::sockopt::socket_peercred(&self.stream).ok()?;
            u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    pub(super) fn send(&mut self, message: &[u8], deadline: Instant) -> Result<(), Trouble> {
        self.write(&websocket::text(message), deadline)
    }

    /// The next message, pings answered.
    pub(super) fn receive(&mut self, deadline: Instant) -> Result<Vec<u8>, Trouble> {
        loop {
            match self.incoming(deadline)? {
                Incoming::Text(message) => return Ok(message),
                Incoming::Ping(payload) => self.write(&websocket::pong(&payload), deadline)?,
                Incoming::Closed => return Err(self.breaks("the server closed the connection")),
                Incoming::Opened => {}
            }
        }
    }

    fn incoming(&mut self, deadline: Instant) -> Result<Incoming, Trouble> {
        let mut chunk = [0; 64 * 1024];
        loop {
            match self.decoder.next() {
                Ok(Some(incoming)) => return Ok(incoming),
                Ok(None) => {}
                Err(reason) => {
                    self.broken = Some(reason.clone());
                    return Err(Trouble::Garbage(reason));
                }
            }
            if let Some(reason) = &self.broken {
                return Err(Trouble::Broken(reason.clone()));
            }
            let left = remaining(deadline)?;
            let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(&mut chunk));
            match read {
                Ok(0) => return Err(self.breaks("the server closed the connection")),
                Ok(read) => self.decoder.push(&chunk[..read]),
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(self.breaks(&error.to_string())),
            }
        }
    }

    /// Writes all of it. A part of a frame cannot be taken back, so a deadline in the middle breaks
    /// the connection.
    fn write(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), Trouble> {
        if let Some(reason) = &self.broken {
            return Err(Trouble::Broken(reason.clone()));
        }
        let mut started = false;
        while !bytes.is_empty() {
            let left = match remaining(deadline) {
                Err(_) if started => return Err(self.breaks("the server does not read")),
                left => left?,
            };
            let written = self.stream.set_write_timeout(Some(left)).and_then(|()| self.stream.write(bytes));
            match written {
                Ok(written) => {
                    started = true;
                    bytes = &bytes[written..];
                }
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(self.breaks(&error.to_string())),
            }
        }
        Ok(())
    }

    fn breaks(&mut self, reason: &str) -> Trouble {
        self.broken = Some(reason.to_owned());
        Trouble::Broken(reason.to_owned())
    }
}

/// Whether somebody listens at a socket, also if nothing is accepted there.
pub(super) fn is_listening(socket: &Path) -> bool {
    matches!(try_connect(socket), Ok(_) | Err(Errno::AGAIN))
}

/// A plain `connect` would wait without limit for a server that is stopped and whose queue is full.
fn connect(socket: &Path, deadline: Instant) -> Result<UnixStream, Trouble> {
    loop {
        match try_connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(Errno::AGAIN | Errno::INTR) => {
                std::thread::sleep(remaining(deadline)?.min(Duration::from_millis(5)));
            }
            Err(errno) => {
                let reason = io::Error::from(errno).to_string();
                return Err(Trouble::Broken(reason));
            }
        }
    }
}

fn try_connect(socket: &Path) -> Result<UnixStream, Errno> {
    let address = SocketAddrUnix::new(socket)?;
    let fd: OwnedFd = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    // Two calls, because macOS has no flags for it in the first one.
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&fd, true)?;
    rustix::net::connect(&fd, &address)?;
    rustix::io::ioctl_fionbio(&fd, false)?;
    Ok(UnixStream::from(fd))
}

/// What is left until the deadline, at least a millisecond: a time-out of zero means none.
fn remaining(deadline: Instant) -> Result<Duration, Trouble> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Trouble::Late) } else { Ok(left.max(Duration::from_millis(1))) }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
