//! The framing of RFC 6455, as far as the server needs it: text messages, pings, close.

/// The longest message that is read. The longest that is asked for is a page of turns.
const MAX_MESSAGE: usize = 32 * 1024 * 1024;

/// The longest message that the server takes in one frame; it says so when a connection begins.
pub(super) const MAX_SENT: usize = 16 * 1024 * 1024;

/// The longest answer to the request with which a connection begins.
const MAX_HEAD: usize = 16 * 1024;

/// The request with which a connection begins. Its key need not be random: it keeps proxies from
/// mistaking cached answers for a handshake, and there is none on a Unix socket. It is the example
/// of RFC 6455, so that the right answer is known, too. An `Origin` would be refused.
pub(super) const OPENING: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The answer to the key of [`OPENING`].
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// The server took the connection.
    Opened,
    /// A message.
    Text(Vec<u8>),
    /// To be answered with [`pong`] and the same bytes.
    Ping(Vec<u8>),
    /// The end of the connection.
    Closed,
}

/// Puts a stream of bytes together to messages. Whatever the bytes are, memory stays bounded; after
/// an error the connection is of no use any more.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: Vec<u8>,
    opened: bool,
    /// The first parts of a message that comes in several frames.
    fragments: Option<Vec<u8>>,
}

impl Decoder {
    /// Takes in what was read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next thing that is complete, if one is.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, String> {
        if !self.opened {
            return self.opening();
        }
        while let Some(frame) = self.frame()? {
            if let Some(incoming) = self.assemble(frame)? {
                return Ok(Some(incoming));
            }
        }
        Ok(None)
    }

    fn opening(&mut self) -> Result<Option<Incoming>, String> {
        let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if self.buffer.len() > MAX_HEAD {
                Err("the answer to the handshake has no end".into())
            } else {
                Ok(None)
            };
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let status = head.lines().next().unwrap_or_default();
        if !status.starts_with("HTTP/1.1 101 ") {
            return Err(format!("the handshake was answered with {:?}", shortened(status)));
        }
        let accepted = head.lines().filter_map(|line| line.split_once(':')).any(|(name, value)| {
            name.trim().eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT
        });
        if !accepted {
            return Err("the handshake was answered without the right key".into());
        }
        self.opened = true;
        Ok(Some(Incoming::Opened))
    }

    /// Takes one frame out of the buffer, if it is all there.
    fn frame(&mut self) -> Result<Option<Frame>, String> {
        let [first, second, ..] = self.buffer[..] else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err("a frame with an extension that was not agreed on".into());
        }
        if second & 0x80 != 0 {
            return Err("a masked frame from the server".into());
        }
        let (length, header) = match second {
            126 => (self.number(2), 4),
            127 => (self.number(8), 10),
            short => (Some(u64::from(short)), 2),
        };
        let Some(length) = length else { return Ok(None) };
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_MESSAGE);
        let length = length.ok_or_else(|| format!("a message of more than {MAX_MESSAGE} bytes"))?;
        let frame = Frame { last: first & 0x80 != 0, opcode: first & 0x0f, payload: Vec::new() };
        if frame.opcode >= CLOSE && (length > 125 || !frame.last) {
            return Err("a control frame that is long or in parts".into());
        }
        if self.buffer.len() < header + length {
            return Ok(None);
        }
        let payload = self.buffer[header..header + length].to_vec();
        self.buffer.drain(..header + length);
        Ok(Some(Frame { payload, ..frame }))
    }

    /// The big-endian number of so many bytes that follows the first two.
    fn number(&self, bytes: usize) -> Option<u64> {
        let field = self.buffer.get(2..2 + bytes)?;
        Some(field.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn assemble(&mut self, frame: Frame) -> Result<Option<Incoming>, String> {
        let Frame { last, opcode, payload } = frame;
        let message = match (opcode, self.fragments.take()) {
            (PING, fragments) => {
                self.fragments = fragments;
                return Ok(Some(Incoming::Ping(payload)));
            }
            (PONG, fragments) => {
                self.fragments = fragments;
                return Ok(None);
            }
            (CLOSE, _) => return Ok(Some(Incoming::Closed)),
            (TEXT, None) => payload,
            (CONTINUATION, Some(mut message)) => {
                if message.len() + payload.len() > MAX_MESSAGE {
                    return Err(format!("a message of more than {MAX_MESSAGE} bytes"));
                }
                message.extend_from_slice(&payload);
                message
            }
            (BINARY, _) => return Err("a binary message".into()),
            _ => return Err("a frame out of order".into()),
        };
        if last {
            return Ok(Some(Incoming::Text(message)));
        }
        self.fragments = Some(message);
        Ok(None)
    }
}

#[derive(Debug)]
struct Frame {
    last: bool,
    opcode: u8,
    payload: Vec<u8>,
}

/// A text message in one frame.
pub(super) fn text(message: &[u8]) -> Vec<u8> {
    encode(TEXT, message)
}

/// The answer to a ping.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    encode(PONG, payload)
}

/// The mask of a client's frames is 0, which leaves the bytes as they are: like the key it protects
/// proxies, of which there is none.
fn encode(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length < 126 => frame.push(0x80 | length),
        (_, Ok(length)) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            // A usize has at most 64 bits.
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The beginning of a text of unknown origin, for a message of one line.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
