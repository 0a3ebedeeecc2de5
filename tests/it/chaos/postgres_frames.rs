//! The messages that a client sends to Postgres, found in the stream of its bytes.
#![cfg(test)]

/// What a client sends before its first real message, when it asks for encryption.
const ASKS_FOR_TLS: [u32; 2] = [80_877_103, 80_877_104];

/// What is not a whole message yet.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    pending: Vec<u8>,
    /// Before it, messages have no type.
    is_started: bool,
}

impl Frames {
    /// Whether these bytes complete a simple query that commits.
    pub(crate) fn have_commit(&mut self, bytes: &[u8]) -> bool {
        self.pending.extend(bytes);
        let mut has_commit = false;
        while let Some(frame) = self.next_frame() {
            has_commit |= is_commit(&frame);
        }
        has_commit
    }

    fn next_frame(&mut self) -> Option<Vec<u8>> {
        let type_bytes = usize::from(self.is_started);
        let length = number_at(&self.pending, type_bytes)?;
        // The length counts itself and not the type. Less than itself is no Postgres: then nothing is found.
        let whole = usize::try_from(length).ok()?.max(4) + type_bytes;
        if self.pending.len() < whole {
            return None;
        }
        let frame: Vec<u8> = self.pending.drain(..whole).collect();
        if !self.is_started {
            let code = number_at(&frame, 4);
            self.is_started = code.is_none_or(|code| !ASKS_FOR_TLS.contains(&code));
            return Some(Vec::new());
        }
        Some(frame)
    }
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    let number = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(number.try_into().ok()?))
}

fn is_commit(frame: &[u8]) -> bool {
    let text = |rest: &[u8]| -> Option<String> {
        let text = rest.get(4..)?.strip_suffix(b"\0")?;
        String::from_utf8(text.to_vec()).ok()
    };
    frame
        .strip_prefix(b"Q")
        .and_then(text)
        .is_some_and(|text| text.trim().eq_ignore_ascii_case("commit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: &[u8], body: &[u8]) -> Vec<u8> {
        let mut frame = kind.to_vec();
        frame.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        frame.extend(body);
        frame
    }

    /// A client that asks for TLS, is refused, and starts.
    fn started() -> Frames {
        let mut frames = Frames::default();
        assert!(!frames.have_commit(&frame(b"", &80_877_103_u32.to_be_bytes())));
        let mut start = 196_608_u32.to_be_bytes().to_vec();
        start.extend(b"user\0postgres\0\0");
        assert!(!frames.have_commit(&frame(b"", &start)));
        frames
    }

    #[test]
    fn a_commit_is_found_wherever_the_bytes_are_split() {
        let mut talk = frame(b"Q", b"BEGIN\0");
        talk.extend(frame(b"P", b"\0UPDATE job SET note = 'COMMIT'\0\0\0"));
        talk.extend(frame(b"Q", b"COMMIT\0"));
        for at in 0..talk.len() {
            let mut frames = started();
            let (front, back) = talk.split_at(at);
            let found = [frames.have_commit(front), frames.have_commit(back)];
            assert_eq!(found, [false, true], "split at {at}");
        }
    }

    #[test]
    fn nothing_else_is_a_commit() {
        let mut frames = started();
        for body in [
            &b"ROLLBACK\0"[..],
            b"COMMIT PREPARED 'x'\0",
            b"SELECT 'COMMIT'\0",
        ] {
            assert!(!frames.have_commit(&frame(b"Q", body)));
        }
        assert!(!frames.have_commit(&frame(b"B", b"COMMIT\0")));
        assert!(frames.have_commit(&frame(b"Q", b"commit\0")));
    }
}
