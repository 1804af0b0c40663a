//! A whole zone on its way to another server (RFC 5936): its messages are made one at a time, so that a large zone and a
//! slow receiver cost no more than one message.

use crate::answer::encoded;
use crate::zone::{Snapshot, Zone};
use hickory_proto::op::Message;
use hickory_proto::rr::LowerName;
use std::sync::Arc;

/// Records in a message. None is larger than 600 bytes, so that they always fit.
const RECORDS: usize = 100;

/// A zone's messages: an iterator over the bytes of each. It keeps the snapshot that it began with.
#[derive(Debug)]
pub struct Transfer {
    snapshot: Arc<Snapshot>,
    origin: LowerName,
    reply: Message,
    at: At,
}

/// How far it is.
#[derive(Debug)]
enum At {
    Beginning,
    /// The records of this name were sent last.
    After(Option<LowerName>),
    End,
}

impl Transfer {
    pub(crate) fn new(snapshot: Arc<Snapshot>, origin: LowerName, mut reply: Message) -> Self {
        reply.metadata.authoritative = true;
        Self { snapshot, origin, reply, at: At::Beginning }
    }

    /// Fills a message: the start of authority stands first and last.
    fn fill(&mut self) {
        let Some(zone) = self.snapshot.exactly(&self.origin) else {
            self.at = At::End;
            return;
        };
        let answers = &mut self.reply.answers;
        answers.clear();
        if matches!(self.at, At::Beginning) {
            answers.push(zone.soa().clone());
            self.at = At::After(None);
        }
        while answers.len() < RECORDS {
            let At::After(after) = &self.at else { return };
            self.at = match zone.records_after(after.as_ref()) {
                Some((name, records)) => {
                    answers.extend(records);
                    At::After(Some(name))
                }
                None => {
                    answers.push(zone.soa().clone());
                    At::End
                }
            };
        }
    }

    /// The serial that is sent.
    pub fn serial(&self) -> Option<u32> {
        self.snapshot.exactly(&self.origin).map(Zone::serial)
    }
}

impl Iterator for Transfer {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if matches!(self.at, At::End) {
            return None;
        }
        self.fill();
        encoded(&self.reply, u16::MAX)
    }
}
