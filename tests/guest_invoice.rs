//! The time of a real server stands on its invoice: the line, its interval and what the guest itself says agree.

use bulut::app::App;
use bulut::clock::Clock;
use bulut::config::{Config, Overrides};
use bulut::domain::invoices::issuing;
use bulut::domain::invoices::replay::replay;
use bulut::faults::Faults;
use bulut_model::rating::{HOUR, HOUR_S, hour_of};
use bulut_model::{Micros, ServerId};
use bulut_store::{accounts, intervals};
use bulut_testkit::program::{EMAIL, Program};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_bulut");
const BOOT: Duration = Duration::from_secs(120);
/// Waits until the guest has run for a minute by its own clock, and says for how long it has.
const A_MINUTE: &str =
    "while [ $(cut -d. -f1 /proc/uptime) -lt 60 ]; do sleep 1; done; cut -d. -f1 /proc/uptime";

#[tokio::test]
async fn a_guests_minutes_are_what_its_invoice_says() {
    let cloud = Program::start(BINARY, "tiny", None, &[("BULUT_NETWORKING", "user")]).await;
    let fingerprint = cloud.add_key().await;
    let ordered_at = Clock::System.now();
    let (id, ordered) = cloud.order("tiny", &[("ssh_keys", &fingerprint)]).await;
    cloud.succeeded(&ordered).await;
    let ran_s: i64 = cloud.says(id, A_MINUTE, BOOT).await.trim().parse().unwrap();
    assert!(ran_s >= 60, "{ran_s}");
    cloud.destroy(id).await;
    let gone_at = Clock::System.now();

    // The program charges whole hours. The same database under a clock that has gone on to the next one:
    let mut config = Config::load(None, Overrides { state: Some(cloud.state()), listen: None }).unwrap();
    config.database = Some(cloud.database());
    let clock = Clock::frozen(hour_of(gone_at.plus(HOUR)));
    let app = App::open(config, clock, Faults::default()).await.unwrap();
    let (account, _) = accounts::find_by_name(app.store(), EMAIL).await.unwrap().unwrap();
    let spans = intervals::list_of_server(app.store(), account.id, ServerId(id)).await.unwrap();
    assert_eq!(spans.len(), 1, "{spans:?}");
    let seconds = spans[0].closed_at.unwrap().unix_seconds() - spans[0].opened_at.unix_seconds();
    // The guest ran within its interval, but for the second that rounding may take, and the interval within what was seen.
    assert!(seconds + 1 >= ran_s, "{seconds} s are fewer than the {ran_s} s of the guest");
    assert!(spans[0].opened_at.unix_seconds() >= ordered_at.unix_seconds());
    assert!(spans[0].closed_at.unwrap() <= gone_at);

    let made = issuing::issue_now(&app, account.id).await.unwrap();
    // One, or two where a month has ended in between.
    let lines: Vec<_> = made.iter().flat_map(|invoice| &invoice.content.lines).collect();
    let of_server: Vec<_> = lines.iter().filter(|line| line.server == Some(ServerId(id))).collect();
    assert!(of_server.iter().all(|line| line.intervals == [spans[0].id]), "{lines:?}");
    let hours: i64 = of_server.iter().map(|line| line.quantity.0).sum();
    assert!((hours - seconds * 1_000_000 / HOUR_S).abs() <= 1, "{hours} millionths of an hour, {seconds} s");
    let amount: Micros = of_server.iter().map(|line| line.amount).sum();
    let exact = spans[0].terms.unit_price.0 * seconds;
    assert!((amount.0 * HOUR_S - exact).abs() <= HOUR_S, "{amount} for {seconds} s");
    for invoice in &made {
        assert_eq!(replay(&app, &invoice.content.number).await.unwrap().difference, None);
    }
}
