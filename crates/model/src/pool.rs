//! Resource pools: how much an account may have in servers that cost nothing by the hour, whose sizes are free.

use crate::{Error, Result, error::Kind};

/// Processors, memory and disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// Virtual CPUs.
    pub cpu: u64,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Disk, GiB.
    pub disk_gib: u64,
}

/// A pool and what is taken from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pool {
    /// All there is.
    pub total: Resources,
    /// What servers have.
    pub used: Resources,
}

/// The most that a pool may hold of anything: far above any host, and far below where sums could overflow.
pub const TOTAL_MAX: u64 = 1_000_000_000;

impl Pool {
    /// Checks that these resources are left, in the order and words of the document (cloudatcost-api-v1, "CLOUD PRO:
    /// Build server").
    ///
    /// Errors: `Quota`.
    pub fn check_left(&self, wanted: Resources) -> Result<()> {
        let left = |total: u64, used: u64, wanted: u64| total.saturating_sub(used) >= wanted;
        let (total, used) = (self.total, self.used);
        for (is_left, what) in [
            (left(total.cpu, used.cpu, wanted.cpu), "CPU"),
            (left(total.memory_mib, used.memory_mib, wanted.memory_mib), "RAM"),
            (left(total.disk_gib, used.disk_gib, wanted.disk_gib), "Storage"),
        ] {
            if !is_left {
                return Err(Error::new(Kind::Quota, format!("Not Enough {what}")));
            }
        }
        Ok(())
    }
}

/// Which of the free sizes is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeFault {
    /// Not 1 to 16.
    Cpu,
    /// Not 512 to 32768, or no multiple of 4.
    Memory,
    /// Not 10 to 1000.
    Disk,
}

impl Resources {
    /// Checks the bounds of free sizes (the contract's widening of "CLOUD PRO: Build server").
    pub fn check_size(&self) -> Result<(), SizeFault> {
        if !(1..=16).contains(&self.cpu) {
            return Err(SizeFault::Cpu);
        }
        if !(512..=32_768).contains(&self.memory_mib) || !self.memory_mib.is_multiple_of(4) {
            return Err(SizeFault::Memory);
        }
        if !(10..=1000).contains(&self.disk_gib) {
            return Err(SizeFault::Disk);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn of(cpu: u64, memory_mib: u64, disk_gib: u64) -> Resources {
        Resources { cpu, memory_mib, disk_gib }
    }

    #[test]
    fn what_is_not_left_is_named_as_in_the_document() {
        let pool = Pool { total: of(8, 8192, 120), used: of(3, 3072, 90) };
        assert!(pool.check_left(of(5, 5120, 30)).is_ok());
        for (wanted, said) in [
            (of(6, 5120, 30), "Not Enough CPU"),
            (of(5, 5124, 31), "Not Enough RAM"),
            (of(5, 5120, 31), "Not Enough Storage"),
            (of(9, 9000, 200), "Not Enough CPU"),
        ] {
            assert_eq!(pool.check_left(wanted).unwrap_err().public, said);
        }
        let shrunk = Pool { total: of(1, 1024, 10), used: of(3, 3072, 90) };
        assert!(
            shrunk.check_left(of(1, 512, 10)).is_err(),
            "a pool that was made smaller than its use gives nothing"
        );
    }

    #[test]
    fn sizes_are_free_within_their_bounds() {
        for good in [of(1, 512, 10), of(16, 32_768, 1000), of(3, 516, 11), of(5, 3096, 999)] {
            assert_eq!(good.check_size(), Ok(()), "{good:?}");
        }
        for cpu in [0, 17, u64::MAX] {
            assert_eq!(of(cpu, 512, 10).check_size(), Err(SizeFault::Cpu));
        }
        for memory in [0, 508, 511, 513, 514, 515, 32_772, u64::MAX] {
            assert_eq!(of(1, memory, 10).check_size(), Err(SizeFault::Memory), "{memory}");
        }
        for disk in [0, 9, 1001, u64::MAX] {
            assert_eq!(of(1, 512, disk).check_size(), Err(SizeFault::Disk));
        }
    }
}
