//! Reads the counters of forged frames. Must not know: what is counted.

use super::nfnetlink::{Kernel, Question, attribute, name, text};
use super::transaction::{Family, Table};
use crate::DriverError;
use nix::errno::Errno;

const GET_OBJECT: u16 = 19; // NFT_MSG_GETOBJ
const COUNTER: u32 = 1; // NFT_OBJECT_COUNTER
const OBJECT_TABLE: u16 = 1;
const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
const COUNTER_PACKETS: u16 = 2;

/// Packets counted by a named counter of a table of taps; `None` if there is no such counter.
///
/// # Errors
/// `Retry` if the kernel cannot be asked.
pub(super) fn packets(kernel: &Kernel, table: &Table, counter: &str) -> Result<Option<u64>, DriverError> {
    let failure = |errno: Errno| {
        DriverError::Retry(format!("cannot read counter {counter} of table {}: {errno}", table.name))
    };
    let attributes = [
        (OBJECT_TABLE, text(&table.name)),
        (OBJECT_NAME, text(counter)),
        (OBJECT_TYPE, COUNTER.to_be_bytes().to_vec()),
    ];
    match kernel.get(&Question { kind: GET_OBJECT, family: table.family, attributes: &attributes }) {
        Ok(object) => counted(&object).map(Some).ok_or_else(|| failure(Errno::EBADMSG)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(failure(errno)),
    }
}

fn counted(object: &[u8]) -> Option<u64> {
    let packets = attribute(attribute(object, OBJECT_DATA)?, COUNTER_PACKETS)?;
    Some(u64::from_be_bytes(packets.try_into().ok()?))
}

/// All counters of tables that are for what comes in by interfaces: the table's name, and the counter's.
///
/// # Errors
/// `Retry` if the kernel cannot be asked.
pub(super) fn names(kernel: &Kernel) -> Result<Vec<(String, String)>, DriverError> {
    let attributes = [(OBJECT_TYPE, COUNTER.to_be_bytes().to_vec())];
    let question = Question { kind: GET_OBJECT, family: Family::Netdev, attributes: &attributes };
    let mut names = Vec::new();
    let seen = kernel.dump(&question, |object| {
        let text = |kind| attribute(object, kind).map(name).unwrap_or_default();
        names.push((text(OBJECT_TABLE), text(OBJECT_NAME)));
    });
    seen.map_err(|errno| DriverError::Retry(format!("cannot list the counters of taps: {errno}")))?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::nfnetlink::tests::written;
    use super::*;

    #[test]
    fn packets_are_counted_and_not_bytes() {
        let bytes = written(1, &9_u64.to_be_bytes());
        let packets = written(COUNTER_PACKETS, &3_u64.to_be_bytes());
        let data = written(OBJECT_DATA | 0x8000, &[bytes, packets].concat());
        assert_eq!(counted(&data), Some(3));
        assert_eq!(counted(&data[..data.len() - 1]), None);
    }
}
