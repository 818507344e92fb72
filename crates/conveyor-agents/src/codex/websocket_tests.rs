use super::*;

const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nx-codex-websocket-max: 16777216\r\n\r\n";

fn opened() -> Decoder {
    let mut decoder = Decoder::default();
    decoder.push(ANSWER.as_bytes());
    assert_eq!(decoder.next(), Ok(Some(Incoming::Opened)));
    decoder
}

fn all(decoder: &mut Decoder) -> Result<Vec<Incoming>, String> {
    let mut found = Vec::new();
    while let Some(incoming) = decoder.next()? {
        found.push(incoming);
    }
    Ok(found)
}

/// A frame as a server sends it, without mask.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let masked = encode(first & 0x0f, payload);
    let header = masked.len() - payload.len() - 4;
    let mut frame = [&masked[..header], payload].concat();
    frame[0] = first;
    frame[1] &= 0x7f;
    frame
}

#[test]
fn messages_come_out_whole_however_they_come_in() {
    let long = "ü".repeat(70_000);
    let medium = "m".repeat(300);
    let stream = [
        ANSWER.as_bytes(),
        &frame(0x81, b"{}"),
        &frame(0x89, b"ping"),
        &frame(0x01, b"in "),
        &frame(0x8a, b"a pong between"),
        &frame(0x00, b"three "),
        &frame(0x80, b"parts"),
        &frame(0x81, medium.as_bytes()),
        &frame(0x81, long.as_bytes()),
        &frame(0x88, b""),
    ]
    .concat();
    let expected = [
        Incoming::Opened,
        Incoming::Text(b"{}".to_vec()),
        Incoming::Ping(b"ping".to_vec()),
        Incoming::Text(b"in three parts".to_vec()),
        Incoming::Text(medium.into_bytes()),
        Incoming::Text(long.into_bytes()),
        Incoming::Closed,
    ];
    for step in [1, 2, 3, 7, 1000, stream.len()] {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for piece in stream.chunks(step) {
            decoder.push(piece);
            // Looking after every byte of the long message would take its time.
            if step > 3 || piece.len() < step || found.len() < 5 {
                found.extend(all(&mut decoder).unwrap());
            }
        }
        found.extend(all(&mut decoder).unwrap());
        assert_eq!(found, expected, "in steps of {step}");
    }
}

#[test]
fn a_handshake_must_be_the_answer_to_ours() {
    let answers = [
        "HTTP/1.1 403 Forbidden\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: wrong\r\n\r\n",
        "{\"error\": \"not HTTP\"}\r\n\r\n",
    ];
    for answer in answers {
        let mut decoder = Decoder::default();
        decoder.push(answer.as_bytes());
        assert!(decoder.next().is_err(), "{answer:?}");
    }
    let mut endless = Decoder::default();
    endless.push(&[b'x'; MAX_HEAD]);
    assert_eq!(endless.next(), Ok(None));
    endless.push(b"x");
    assert!(endless.next().is_err());
}

#[test]
fn what_no_server_should_send_is_an_error() {
    let cases: [&[u8]; 9] = [
        &[0x81, 0x82, 0, 0, 0, 0, b'{', b'}'],
        &[0xc1, 2, b'{', b'}'],
        &[0x82, 2, b'{', b'}'],
        &[0x80, 2, b'{', b'}'],
        &[0x09, 0],
        &[0x89, 126, 0, 200],
        &[0x83, 0],
        &[0x81, 127, 0, 0, 0, 0, 2, 0, 0, 1],
        &[0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255],
    ];
    for bytes in cases {
        let mut decoder = opened();
        decoder.push(bytes);
        assert!(decoder.next().is_err(), "{bytes:?}");
    }
    let mut interleaved = opened();
    interleaved.push(&[frame(0x01, b"a"), frame(0x81, b"b")].concat());
    assert!(interleaved.next().is_err());
}

#[test]
fn parts_do_not_add_up_without_limit() {
    let mut decoder = opened();
    let part = vec![b'x'; MAX_MESSAGE / 2 + 1];
    decoder.push(&frame(0x01, &part));
    assert_eq!(decoder.next(), Ok(None));
    decoder.push(&frame(0x00, &part));
    assert!(decoder.next().is_err());
}

#[test]
fn any_bytes_at_all_end_in_messages_or_an_error() {
    // A generator of its own, so that the cases are the same on every run.
    let mut seed: u64 = 7;
    for _ in 0..2_000 {
        let mut decoder = opened();
        for _ in 0..8 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            decoder.push(&seed.to_be_bytes()[..usize::try_from(seed % 9).unwrap()]);
            if all(&mut decoder).is_err() {
                break;
            }
        }
        assert!(decoder.buffer.len() <= 64);
    }
}

#[test]
fn our_frames_are_masked_and_as_long_as_they_say() {
    assert_eq!(text(b"{}"), [0x81, 0x82, 0, 0, 0, 0, b'{', b'}']);
    assert_eq!(text(&[b'x'; 126])[..4], [0x81, 0x80 | 126, 0, 126]);
    assert_eq!(text(&[b'x'; 70_000])[..10], [0x81, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    assert_eq!(pong(b"p"), [0x8a, 0x81, 0, 0, 0, 0, b'p']);
}
