//! Whether somebody is at the screen: keys and the pointer in the client's half of the RFB protocol (RFC 6143, and the
//! extensions that QEMU and noVNC speak).
//!
//! A client asks for updates as long as it is open, so that bytes alone say nothing. Must not know: what is typed; the
//! content of messages is passed over.

/// Reads along. Made anew for each connection.
#[derive(Debug, Default)]
pub struct Hands {
    phase: Phase,
    /// The beginning of the present message, as far as it is needed to know its length.
    head: Vec<u8>,
    /// Bytes of the present message that are still to be passed over.
    rest: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Version,
    Security,
    Init,
    Messages,
    /// It speaks something else: what cannot be read counts as use, and the session's other limit has to do.
    Unknown,
}

/// What the beginning of a message says of it.
enum Message {
    /// More of it is needed.
    Incomplete,
    /// Its length, and whether it comes from a hand.
    Known { length: usize, by_hand: bool },
    /// None that we know.
    Unknown,
}

impl Hands {
    /// Reads what the client sent next; whether a key or the pointer was among it.
    pub fn see(&mut self, mut bytes: &[u8]) -> bool {
        let mut by_hand = false;
        while let Some((first, behind)) = bytes.split_first() {
            if self.phase == Phase::Unknown {
                return true;
            }
            if self.rest > 0 {
                let passed = self.rest.min(bytes.len());
                self.rest -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            self.head.push(*first);
            bytes = behind;
            by_hand |= self.step();
        }
        by_hand
    }

    fn step(&mut self) -> bool {
        let (next, by_hand) = match self.phase {
            Phase::Version if self.head.len() < 12 => return false,
            Phase::Version => {
                let spoken = matches!(self.head.as_slice(), b"RFB 003.007\n" | b"RFB 003.008\n");
                (if spoken { Phase::Security } else { Phase::Unknown }, false)
            }
            // 1 is the security type "none", which needs nothing more.
            Phase::Security => (if self.head == [1] { Phase::Init } else { Phase::Unknown }, false),
            Phase::Init => (Phase::Messages, false),
            Phase::Messages => match message(&self.head) {
                Message::Incomplete => return false,
                Message::Known { length, by_hand } => {
                    self.rest = length.saturating_sub(self.head.len());
                    (Phase::Messages, by_hand)
                }
                Message::Unknown => (Phase::Unknown, true),
            },
            Phase::Unknown => return true,
        };
        self.head.clear();
        self.phase = next;
        by_hand
    }
}

fn message(head: &[u8]) -> Message {
    let known = |length, by_hand| Message::Known { length, by_hand };
    let number = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
    let needs = match head[0] {
        2 | 255 => 4,
        5 => 2,
        6 | 251 => 8,
        248 => 9,
        _ => 1,
    };
    if head.len() < needs {
        return Message::Incomplete;
    }
    match head[0] {
        0 => known(20, false),                                     // SetPixelFormat
        2 => known(4 + 4 * number(2), false),                      // SetEncodings
        3 => known(10, false),                                     // FramebufferUpdateRequest
        4 => known(8, true),                                       // KeyEvent
        5 => known(if head[1] & 0x80 == 0 { 6 } else { 7 }, true), // PointerEvent, and its extended form
        6 => {
            // ClientCutText; its extended form has a negative length.
            let length = i32::from_be_bytes([head[4], head[5], head[6], head[7]]).unsigned_abs();
            known(8 + usize::try_from(length).unwrap_or(usize::MAX - 8), true)
        }
        150 => known(10, false),                            // EnableContinuousUpdates
        248 => known(9 + usize::from(head[8]), false),      // Fence
        250 => known(4, true),                              // xvp: shut down, reset
        251 => known(8 + 16 * usize::from(head[6]), false), // SetDesktopSize
        255 => match (head[1], number(2)) {
            (0, _) => known(12, true),     // QEMU's KeyEvent
            (1, 2) => known(10, false),    // QEMU's audio: its format
            (1, 0 | 1) => known(4, false), // QEMU's audio: on and off
            _ => Message::Unknown,
        },
        _ => Message::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &[u8] = b"RFB 003.008\n\x01\x01";
    const KEY: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, b'a'];
    const ASK: [u8; 10] = [3, 1, 0, 0, 0, 0, 4, 0, 3, 0];

    fn greeted() -> Hands {
        let mut hands = Hands::default();
        assert!(!hands.see(GREETING));
        hands
    }

    /// Messages that no hand sends, one of each kind.
    fn idle() -> Vec<u8> {
        let mut all = vec![0; 20];
        all.extend([2, 0, 0, 3]);
        all.extend([4; 12]); // encodings that look like keys
        all.extend(ASK);
        all.extend([150, 1, 0, 0, 0, 0, 4, 0, 3, 0]);
        all.extend([248, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4]);
        all.extend([251, 0, 4, 0, 3, 0, 1, 0]);
        all.extend([4; 16]);
        all.extend([255, 1, 0, 2, 4, 4, 4, 4, 4, 4]);
        all.extend([255, 1, 0, 1]);
        all
    }

    #[test]
    fn asking_for_updates_is_no_use_of_hands() {
        let mut hands = greeted();
        for _ in 0..3 {
            assert!(!hands.see(&idle()));
        }
        assert!(hands.see(&KEY), "and it has not lost its place");
    }

    #[test]
    fn keys_the_pointer_and_pasted_text_are() {
        let pointer = [5, 1, 0, 9, 0, 9];
        let extended = [5, 0x81, 0, 9, 0, 9, 1];
        let qemu_key = [255, 0, 0, 1, 0, 0, 0, 97, 0, 0, 0, 30];
        let text = [6, 0, 0, 0, 0, 0, 0, 2, 3, 3];
        let extended_text = [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe, 3, 3];
        for message in [&KEY[..], &pointer, &extended, &qemu_key, &text, &extended_text] {
            let mut hands = greeted();
            assert!(hands.see(message), "{message:?}");
            assert!(!hands.see(&ASK), "{message:?} was read to its end");
            assert!(hands.see(&KEY));
        }
    }

    #[test]
    fn it_does_not_matter_where_the_bytes_are_cut() {
        let mut all = GREETING.to_vec();
        all.extend(idle());
        let quiet = all.len();
        all.extend(KEY);
        all.extend(ASK);
        for size in 1..40 {
            let mut hands = Hands::default();
            let mut at = 0;
            for piece in all.chunks(size) {
                let by_hand = hands.see(piece);
                assert_eq!(by_hand, (at..at + piece.len()).contains(&quiet), "pieces of {size}, at {at}");
                at += piece.len();
            }
        }
    }

    #[test]
    fn what_cannot_be_read_counts_as_use() {
        for strange in [&b"RFB 003.003\n\x01"[..], b"RFB 003.008\n\x02\x01", b"RFB 003.008\n\x01\x01\x63"] {
            let mut hands = Hands::default();
            hands.see(strange);
            assert!(hands.see(&ASK), "{strange:?}");
        }
    }
}
