//! How fast a tap is: a token bucket on the tap for what its guest receives, and one on a device beside it (an `ifb`), through
//! which the rules send what the guest says once it was found to be honest.
//!
//! Promises: a rate changes while packets flow and none is lost for it; bursts and queues are bounded in time. Must not
//! know: addresses or rules. Options of the queue: `struct tc_tbf_qopt` of `linux/pkt_sched.h`.

use super::links::{Links, code, failure, vanished};
use super::sysctls;
use crate::DriverError;
use bulut_model::ServerId;
use futures_util::StreamExt as _;
use rtnetlink::packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::InfoKind;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use rtnetlink::{LinkIfb, LinkMessageBuilder, LinkUnspec};

/// What the name of every device beside a tap begins with. It is not that of taps, which the host's rules match on.
const PREFIX: &str = "bu";

const PARAMETERS: u16 = 1; // TCA_TBF_PARMS
const RATE_64: u16 = 4; // TCA_TBF_RATE64
const BURST: u16 = 6; // TCA_TBF_BURST
/// Lengths count as they are on Ethernet; without saying so the kernel wants a table of times.
const ETHERNET: u8 = 1; // TC_LINKLAYER_ETHERNET

/// What may pass at once even at a low rate, bytes: one packet as the guest's network card hands it over.
const LEAST_BURST: u64 = 72 * 1024;

/// The name of the device beside a server's tap.
pub(super) fn device(id: ServerId) -> String {
    format!("{PREFIX}{id}")
}

/// Options of a token bucket of `bps` bits per second: bursts of 10 ms at full speed, a queue of 100 ms behind them.
fn options(bps: u64) -> Vec<TcOption> {
    let rate = (bps / 8).max(1);
    let burst = u32::try_from((rate / 100).max(LEAST_BURST)).unwrap_or(u32::MAX);
    let limit = u32::try_from(rate / 10).unwrap_or(u32::MAX).saturating_add(burst);
    let short = u32::try_from(rate).unwrap_or(u32::MAX);
    let mut parameters = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
    parameters.extend(short.to_ne_bytes());
    parameters.extend([0; 12]); // no peak rate
    parameters.extend(limit.to_ne_bytes());
    parameters.extend([0; 8]); // the burst is given by itself
    let option = |kind, value: Vec<u8>| TcOption::Other(DefaultNla::new(kind, value));
    let mut options = vec![option(PARAMETERS, parameters), option(BURST, burst.to_ne_bytes().to_vec())];
    if rate > u64::from(u32::MAX) {
        options.push(option(RATE_64, rate.to_ne_bytes().to_vec()));
    }
    options
}

impl Links {
    /// Lets a link send `bps` bits per second at most; 0 takes the limit away. `fresh`: it has no limit yet.
    pub(super) async fn limit(&self, index: u32, bps: u64, fresh: bool) -> Result<(), DriverError> {
        let mut message = TcMessage::default();
        message.header.index = i32::try_from(index).map_err(DriverError::fatal)?;
        message.header.parent = TcHandle::ROOT;
        if bps > 0 {
            message.header.handle = TcHandle { major: 1, minor: 0 };
            message.attributes =
                vec![TcAttribute::Kind("tbf".to_owned()), TcAttribute::Options(options(bps))];
            let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
            request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
            return self.tell(request).await.map_err(failure("limit how fast a tap is"));
        }
        if fresh {
            return Ok(());
        }
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::DelQueueDiscipline(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        match self.tell(request).await {
            // What a link has by itself cannot be taken away.
            Err(error) if matches!(code(&error), Some(libc::ENOENT | libc::EINVAL)) => Ok(()),
            told => told.map_err(failure("let a tap be as fast as it can")),
        }
    }

    async fn tell(&self, request: NetlinkMessage<RouteNetlinkMessage>) -> Result<(), rtnetlink::Error> {
        let mut answers = self.kernel.clone().request(request)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(refusal) = answer.payload
                && refusal.code.is_some()
            {
                return Err(rtnetlink::Error::NetlinkError(refusal));
            }
        }
        Ok(())
    }

    /// Makes or mends the device beside a tap, through which `bps` bits per second pass; its number.
    pub(super) async fn ensure_device(&self, name: &str, bps: u64) -> Result<u32, DriverError> {
        let found = match self.find(name).await? {
            Some(found) => found,
            None => {
                let device = LinkMessageBuilder::<LinkIfb>::new(name).build();
                self.kernel
                    .link()
                    .add(device)
                    .execute()
                    .await
                    .map_err(failure("make the device that slows a tap"))?;
                let made = self.find(name).await?;
                made.ok_or_else(|| DriverError::Retry(format!("{name} vanished while it was set up")))?
            }
        };
        if found.kind != Some(InfoKind::Ifb) {
            return Err(DriverError::Fatal(format!(
                "{name} is taken: something else on this host has the name"
            )));
        }
        let switch = format!("ipv6/conf/{name}/disable_ipv6");
        if sysctls::get(&switch).is_some() {
            sysctls::set(&switch, "1")?;
        }
        self.limit(found.index, bps, false).await?;
        if !found.up {
            let up = LinkUnspec::new_with_index(found.index).up().build();
            self.kernel
                .link()
                .set(up)
                .execute()
                .await
                .map_err(failure("bring up the device that slows a tap"))?;
        }
        Ok(found.index)
    }

    /// Removes the device beside a tap. Absent is fine, and so is another device of that name: it is not ours.
    pub(super) async fn remove_device(&self, name: &str) -> Result<(), DriverError> {
        match self.find(name).await? {
            Some(found) if found.kind == Some(InfoKind::Ifb) => vanished(
                self.kernel.link().del(found.index).execute().await,
                "remove the device that slows a tap",
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_core::Nla as _;

    fn values(bps: u64) -> Vec<(u16, Vec<u8>)> {
        options(bps)
            .iter()
            .map(|it| {
                let mut value = vec![0; it.value_len()];
                it.emit_value(&mut value);
                (it.kind(), value)
            })
            .collect()
    }

    #[test]
    fn a_bucket_is_of_the_kernels_form_at_any_rate() {
        for bps in [1, 1_000_000, 10_000_000_000, 100_000_000_000] {
            let values = values(bps);
            assert_eq!(values[0].1.len(), 36);
            let rate = u32::from_ne_bytes(values[0].1[8..12].try_into().unwrap());
            assert_eq!(u64::from(rate), (bps / 8).clamp(1, u64::from(u32::MAX)));
            let burst = u32::from_ne_bytes(values[1].1[..].try_into().unwrap());
            assert!(u64::from(burst) >= LEAST_BURST);
            assert_eq!(values.len() == 3, bps > 8 * u64::from(u32::MAX), "{bps}");
        }
    }
}
