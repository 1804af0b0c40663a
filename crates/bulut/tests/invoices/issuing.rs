//! What was used becomes invoices: once, without gaps, and whoever was down meanwhile.

use super::{DAY, HOUR, at, balance, cloud_on, done, look, of, taxed_cloud, until, verbs};
use bulut::domain::invoices::replay::replay;
use bulut::domain::{billing_details, invoices};
use bulut::faults::Fault;
use bulut_model::error::Kind;
use bulut_model::invoice::{Content, Party, Status};
use bulut_model::mail::Letter;
use bulut_model::{AccountId, Micros};
use bulut_store::ledger::{self, Entry};
use bulut_store::{accounts as account_rows, mails};
use bulut_testkit::cloud::BEGINNING;
use bulut_testkit::{Database, TestCloud};
use serde_json::{Value, json};

async fn get(customer: &bulut_testkit::Customer<'_>, path: &str) -> Value {
    customer.send("GET", path, "").await.data()
}

#[tokio::test]
async fn a_month_becomes_an_invoice_that_says_what_was_charged() {
    let cloud = taxed_cloud().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1-ğü").await;
    until(&cloud, "2026-01-31T23:59:59Z");
    look(&cloud).await;
    assert_eq!(of(&cloud, &alice).await, [], "the month is not over");
    until(&cloud, "2026-02-01T00:09:59Z");
    look(&cloud).await;
    assert_eq!(of(&cloud, &alice).await, [], "what is measured last may still come in");
    until(&cloud, "2026-02-01T00:10:00Z");
    look(&cloud).await;
    look(&cloud).await;
    let alice = cloud.sign_in(&alice.account).await;
    let listed = get(&alice, "/v1/invoice/list").await;
    assert_eq!(
        listed,
        json!([{
            "id": listed[0]["id"], "number": "2026-00001",
            "period_start": "2026-01-01T00:00:00Z", "period_end": "2026-02-01T00:00:00Z",
            "status": "paid", "currency": "EUR", "subtotal": 5, "tax": 0.95, "total": 5.95,
            "issued_at": "2026-02-01T00:10:00Z", "due_at": "2026-02-15T00:10:00Z",
            "paid_at": "2026-02-01T00:10:00Z",
            "lines": [{
                "description": format!("Server web1-ğü ({server}), eos1"), "quantity": 744, "unit": "hour",
                "unit_price": "0.0074", "amount": 5, "subscription_id": server,
            }],
        }])
    );
    assert_eq!(balance(&cloud, &alice).await, "44.05", "5 by the hour and 0.95 of tax, of 50");
    let posted = get(&alice, "/v1/transaction/list?limit=1").await;
    assert_eq!(
        (&posted[0]["type"], &posted[0]["amount"], &posted[0]["reference"], &posted[0]["description"]),
        (&json!("invoice"), &json!(-0.95), &json!("invoice/2026-00001"), &json!("Tax of invoice 2026-00001"))
    );
    let letters = mails::list(cloud.app().store(), None, 10).await.unwrap();
    let told: Vec<_> = letters.iter().filter(|mail| mail.letter.template() == "invoice").collect();
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0].letter,
        Letter::Invoice {
            number: "2026-00001".into(),
            total: Micros(5_950_000),
            currency: "EUR".into(),
            due_at: None,
            link: None,
        }
    );
}

/// All that an invoice says but when it was made.
fn untimed(content: &Content) -> String {
    let timed = |line: &str| line.starts_with("issued ") || line.starts_with("due ");
    content.text().lines().filter(|line| !timed(line)).collect::<Vec<_>>().join("\n")
}

/// Two customers' four months; somebody looks each `days`.
async fn four_months(database: Database, days: Option<u32>) -> Vec<(String, String)> {
    let cloud = cloud_on(database).await;
    let (alice, bob) = (cloud.customer("alice").await, cloud.customer("bob").await);
    let pass = async |text: &str| {
        let Some(days) = days else { return until(&cloud, text) };
        while cloud.app().clock().now().plus(DAY * days) < at(text) {
            cloud.app().clock().advance(DAY * days);
            look(&cloud).await;
        }
        until(&cloud, text);
    };
    let web1 = alice.running_server("web1").await;
    pass("2026-01-20T10:20:30Z").await;
    let bobs = cloud.sign_in(&bob.account).await.running_server("db").await;
    pass("2026-02-03T04:05:06Z").await;
    done(&cloud, &alice, "POST", &format!("/v1/server/{web1}/stop"), "").await;
    pass("2026-02-14T00:00:00Z").await;
    done(&cloud, &alice, "POST", &format!("/v1/server/{web1}/upgrade_package"), "package=eos2").await;
    pass("2026-02-17T15:30:00Z").await;
    done(&cloud, &bob, "DELETE", &format!("/v1/server/{bobs}/destroy"), "").await;
    pass("2026-05-01T03:00:00Z").await;
    look(&cloud).await;
    let mut told = Vec::new();
    for (name, customer) in [("alice", &alice), ("bob", &bob)] {
        for invoice in of(&cloud, customer).await {
            let mut content = invoice.content;
            // Who comes first in a month is nobody's affair here.
            content.number = String::new();
            told.push((name.to_owned(), untimed(&content)));
        }
        told.push((name.to_owned(), balance(&cloud, customer).await));
    }
    told
}

#[tokio::test]
async fn months_that_nobody_was_there_for_become_the_same_invoices() {
    let regular = four_months(Database::Sqlite, Some(1)).await;
    let counts = |who: &str| regular.iter().filter(|(name, _)| name == who).count() - 1;
    assert_eq!((counts("alice"), counts("bob")), (4, 2));
    assert_eq!(four_months(Database::Sqlite, None).await, regular);
    assert_eq!(four_months(Database::Postgres, Some(9)).await, regular);
}

#[tokio::test]
async fn parts_of_a_month_that_were_asked_for_add_up_to_it() {
    let cloud = taxed_cloud().await;
    let alice = cloud.customer("alice").await;
    alice.running_server("web1").await;
    until(&cloud, "2026-01-10T11:47:00Z");
    let first = verbs::issue_now(cloud.app(), alice.account.id).await.unwrap();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].content.period_end, at("2026-01-10T11:00:00Z"));
    assert_eq!(verbs::issue_now(cloud.app(), alice.account.id).await.unwrap(), [], "nothing is left");
    until(&cloud, "2026-02-01T01:00:00Z");
    look(&cloud).await;
    let all = of(&cloud, &alice).await;
    let told: Vec<_> = all
        .iter()
        .map(|invoice| {
            let line = &invoice.content.lines[0];
            (invoice.content.number.as_str(), line.quantity.0, line.amount.0)
        })
        .collect();
    // 227 hours at 0.0074, and what then is left of 5.
    assert_eq!(told, [("2026-00001", 227_000_000, 1_679_800), ("2026-00002", 517_000_000, 3_320_200)]);
    assert!(all[1].content.lines[0].details.contains("at most 5.00"), "{:?}", all[1].content.lines[0]);
    assert_eq!(all[1].content.period_start, at("2026-01-10T11:00:00Z"));
    // The rounding of each to whole cents: 1.68 and 3.32.
    assert_eq!(all.iter().map(|it| it.content.subtotal).sum::<Micros>(), Micros(5_000_000));
    assert_eq!(all[0].content.lines[1].amount, Micros(200));
    let before = ledger::charged(
        cloud.app().store(),
        alice.account.id,
        at("2026-01-01T00:00:00Z"),
        at("2026-02-01T00:00:00Z"),
    );
    assert_eq!(before.await.unwrap(), Micros(5_000_000));
}

#[tokio::test]
async fn a_postpaid_account_pays_when_the_operator_says_so() {
    let cloud = taxed_cloud().await;
    let alice = cloud.customer("alice").await;
    account_rows::set_postpaid(cloud.app().store(), alice.account.id, true).await.unwrap();
    alice.running_server("web1").await;
    until(&cloud, "2026-02-01T01:00:00Z");
    look(&cloud).await;
    let invoice = of(&cloud, &alice).await.remove(0).content;
    assert_eq!(invoice.status, Status::Unpaid, "though there is a balance");
    assert_eq!(invoice.due_at, at("2026-02-15T01:00:00Z"));
    assert_eq!(balance(&cloud, &alice).await, "44.05");
    until(&cloud, "2026-02-07T00:00:00Z");
    look(&cloud).await;
    let paid = invoices::pay(cloud.app(), "2026-00001").await.unwrap();
    let status = Status::Paid { at: at("2026-02-07T00:00:00Z") };
    assert_eq!(paid.content, Content { status, ..invoice });
    assert_eq!(of(&cloud, &alice).await, [paid]);
    // The week of February so far was charged too.
    let charged = ledger::charged(
        cloud.app().store(),
        alice.account.id,
        at("2026-02-01T00:00:00Z"),
        at("2026-03-01T00:00:00Z"),
    );
    assert_eq!(balance(&cloud, &alice).await, (Micros(50_000_000) - charged.await.unwrap()).decimal());
    let again = invoices::pay(cloud.app(), "2026-00001").await.unwrap_err();
    assert_eq!(
        (again.kind, again.public.as_str()),
        (Kind::Conflict, "Invoice 2026-00001 is paid since 2026-02-07T00:00:00Z.")
    );
    assert_eq!(invoices::pay(cloud.app(), "2026-00002").await.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test]
async fn a_prepaid_account_in_debt_pays_when_its_balance_is_up_again() {
    let cloud = taxed_cloud().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let credit = async |micros: i64| {
        let entries = [
            Entry { book: "customer", account: Some(alice.account.id), amount: Micros(micros) },
            Entry { book: "credits", account: None, amount: Micros(-micros) },
        ];
        let key = format!("test/{micros}");
        let now = cloud.app().clock().now();
        ledger::post(cloud.app().store(), &key, "credit", "", &key, &entries, now).await.unwrap();
    };
    credit(-45_000_000).await;
    until(&cloud, "2026-01-31T20:00:00Z");
    done(&cloud, &alice, "DELETE", &format!("/v1/server/{server}/destroy"), "").await;
    until(&cloud, "2026-02-01T01:00:00Z");
    look(&cloud).await;
    assert_eq!(balance(&cloud, &alice).await, "-0.95");
    assert_eq!(of(&cloud, &alice).await[0].content.status, Status::Unpaid);
    let refused = invoices::pay(cloud.app(), "2026-00001").await.unwrap_err();
    assert!(refused.kind == Kind::Conflict && refused.public.contains("Credit the account"), "{refused}");
    credit(949_999).await;
    look(&cloud).await;
    assert_eq!(of(&cloud, &alice).await[0].content.status, Status::Unpaid);
    credit(1).await;
    look(&cloud).await;
    let status = Status::Paid { at: at("2026-02-01T01:00:00Z") };
    assert_eq!(of(&cloud, &alice).await[0].content.status, status);
}

#[tokio::test]
async fn an_invoice_says_what_held_when_it_was_made() {
    let cloud = taxed_cloud().await;
    let alice = cloud.customer("alice").await;
    alice.running_server("web1").await;
    let changes = |name: &str, tax: &str| billing_details::Changes {
        name: Some(name.into()),
        address: Some(vec!["Straße 1".into(), "Köln".into()]),
        vat_id: Some("de 999".into()),
        tax: Some(tax.into()),
        note: Some("Reverse charge".into()),
    };
    billing_details::change(cloud.app(), "alice", changes("Işık Ltd.", "0")).await.unwrap();
    until(&cloud, "2026-02-01T01:00:00Z");
    look(&cloud).await;
    let invoice = of(&cloud, &alice).await.remove(0);
    assert_eq!(
        invoice.content.recipient,
        Party {
            name: "Işık Ltd.".into(),
            address: vec!["Straße 1".into(), "Köln".into()],
            vat_id: "DE999".into()
        }
    );
    assert_eq!((invoice.content.tax, invoice.content.total), (Micros::ZERO, Micros(5_000_000)));
    assert_eq!(invoice.content.note, "Reverse charge\nTeşekkürler!");
    assert_eq!(invoice.content.issuer.name, "Bulut Bilişim & Söhne GmbH");
    billing_details::change(cloud.app(), "alice", changes("", "7.7")).await.unwrap();
    until(&cloud, "2026-03-01T01:00:00Z");
    look(&cloud).await;
    let all = of(&cloud, &alice).await;
    assert_eq!(all[0], invoice);
    assert_eq!(all[1].content.recipient.name, "alice Test");
    assert_eq!(all[1].content.tax_rate.percent(), "7.7");
    // 672 × 0.0074 is 4.9728: rounded to 4.97, whose tax is 0.38.
    assert_eq!((all[1].content.subtotal, all[1].content.tax), (Micros(4_970_000), Micros(380_000)));
    for (changes, word) in [
        (billing_details::Changes { tax: Some("101".into()), ..Default::default() }, "tax"),
        (billing_details::Changes { vat_id: Some("?".into()), ..Default::default() }, "VAT id"),
        (billing_details::Changes { name: Some("a\nb".into()), ..Default::default() }, "name"),
        (billing_details::Changes { address: Some(vec!["a".into(); 9]), ..Default::default() }, "8 lines"),
    ] {
        let refused = billing_details::change(cloud.app(), "alice", changes).await.unwrap_err();
        assert!(refused.public.contains(word), "{refused}");
    }
}

async fn many_at_once(database: Database) {
    let cloud = cloud_on(database).await;
    let mut customers = Vec::new();
    for number in 0..8 {
        let customer = cloud.customer(&format!("customer{number}")).await;
        customer.order_server("web").await;
        customers.push(customer);
    }
    cloud.run_until_idle().await;
    until(&cloud, "2026-03-01T01:00:00Z");
    let looks = (0..4).map(|_| {
        let app = cloud.app().clone();
        tokio::spawn(async move { verbs::run_due(&app).await })
    });
    let mut made = 0;
    for look in looks.collect::<Vec<_>>() {
        made += look.await.unwrap().unwrap();
    }
    let mut numbers = Vec::new();
    for customer in &customers {
        let invoices = of(&cloud, customer).await;
        assert_eq!(invoices.len(), 2, "January and February");
        assert_eq!(balance(&cloud, customer).await, "38.14", "5.95 and 5.91 of 50");
        numbers.extend(invoices.into_iter().map(|invoice| invoice.content.number));
    }
    numbers.sort_unstable();
    let expected: Vec<String> = (1..=16).map(|number| format!("2026-{number:05}")).collect();
    assert_eq!((made, numbers), (16, expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_at_once_make_each_invoice_once_and_leave_no_number_out() {
    many_at_once(Database::Sqlite).await;
    many_at_once(Database::Postgres).await;
}

#[tokio::test]
async fn who_dies_before_the_end_leaves_nothing_and_takes_no_number() {
    let cloud = taxed_cloud().await;
    let (alice, bob) = (cloud.customer("alice").await, cloud.customer("bob").await);
    alice.running_server("web1").await;
    bob.running_server("web2").await;
    until(&cloud, "2026-02-01T01:00:00Z");
    cloud.fault("invoice.before_commit", Fault::Die, 1);
    assert!(verbs::run_due(cloud.app()).await.is_err());
    assert_eq!(of(&cloud, &alice).await, []);
    assert_eq!(of(&cloud, &bob).await[0].content.number, "2026-00001", "one that fails holds up no other");
    look(&cloud).await;
    assert_eq!(of(&cloud, &alice).await[0].content.number, "2026-00002");
    assert_eq!(balance(&cloud, &alice).await, "44.05");
}

/// An account that asks for its invoice each hour, of a process that dies after each statement.
async fn dies_everywhere(database: Database) {
    let mut cloud = cloud_on(database).await;
    let alice = cloud.customer("alice").await.account;
    cloud.sign_in(&alice).await.running_server("web1").await;
    let mut deaths = 0;
    for round in 0.. {
        cloud.app().clock().advance(HOUR);
        cloud.app().store().die_after(round);
        let finished = verbs::issue_now(cloud.app(), alice.id).await.is_ok();
        deaths += usize::from(!finished);
        // The next one finds what is there and makes the rest.
        cloud.restart().await;
        verbs::issue_now(cloud.app(), alice.id).await.unwrap();
        if finished {
            break;
        }
    }
    assert!(deaths > 15, "it died {deaths} times only: there were more statements than that");
    let customer = cloud.sign_in(&alice).await;
    let all = of(&cloud, &customer).await;
    assert!(all.len() > deaths);
    let mut end = BEGINNING;
    for (number, invoice) in (1..).zip(&all) {
        let content = &invoice.content;
        assert_eq!(content.number, format!("2026-{number:05}"), "no number was left out");
        assert_eq!(content.period_start, end, "no hour was left out or stands on two invoices");
        end = content.period_end;
        assert_eq!(replay(cloud.app(), &content.number).await.unwrap().difference, None);
    }
    let total: Micros = all.iter().map(|invoice| invoice.content.total).sum();
    assert_eq!(balance(&cloud, &customer).await, (Micros(50_000_000) - total).decimal());
    let letters = mails::list(cloud.app().store(), None, 1000).await.unwrap();
    assert_eq!(letters.iter().filter(|mail| mail.letter.template() == "invoice").count(), all.len());
}

#[tokio::test]
async fn a_process_that_dies_at_any_statement_leaves_no_gap_on_sqlite() {
    dies_everywhere(Database::Sqlite).await;
}

#[tokio::test]
async fn a_process_that_dies_at_any_statement_leaves_no_gap_on_postgresql() {
    dies_everywhere(Database::Postgres).await;
}

#[tokio::test]
async fn what_costs_nothing_makes_no_invoice() {
    let cloud = taxed_cloud().await;
    let alice = cloud.customer("alice").await;
    until(&cloud, "2026-06-01T01:00:00Z");
    look(&cloud).await;
    assert_eq!(of(&cloud, &alice).await, []);
    // What begins later begins with the month that it lies in.
    let server = cloud.sign_in(&alice.account).await.running_server("web1").await;
    cloud.app().clock().advance(HOUR);
    done(&cloud, &alice, "DELETE", &format!("/v1/server/{server}/destroy"), "").await;
    until(&cloud, "2026-09-01T00:30:00Z");
    look(&cloud).await;
    let all = of(&cloud, &alice).await;
    assert_eq!(all.len(), 1);
    let period = (all[0].content.period_start, all[0].content.period_end);
    assert_eq!(period, (at("2026-06-01T01:00:00Z").minus(HOUR), at("2026-07-01T00:00:00Z")));
    assert_eq!(
        (all[0].content.lines.len(), all[0].content.total),
        (2, Micros(10_000)),
        "0.0074 is rounded to 0.01"
    );
}

#[tokio::test]
async fn without_money_or_when_nobody_wants_them_there_are_no_invoices() {
    for configure in [(|config| config.billing.enabled = false) as fn(&mut bulut::config::Config), |config| {
        config.invoice.monthly = false
    }] {
        let cloud = TestCloud::with(bulut_testkit::cloud::Setup { configure, ..Default::default() }).await;
        let alice = cloud.customer("alice").await;
        alice.running_server("web1").await;
        until(&cloud, "2026-03-01T01:00:00Z");
        look(&cloud).await;
        assert_eq!(of(&cloud, &alice).await, []);
        let asked = verbs::issue_now(cloud.app(), alice.account.id).await;
        if cloud.app().config().billing.enabled {
            assert_eq!(asked.unwrap().len(), 3, "two months and an hour");
        } else {
            assert_eq!(asked.unwrap_err().kind, Kind::Conflict);
        }
    }
}

#[tokio::test]
async fn a_new_year_begins_at_one_again() {
    let cloud = taxed_cloud().await;
    let alice = cloud.customer("alice").await;
    let rich = [
        Entry { book: "customer", account: Some(alice.account.id), amount: Micros(1_000_000_000) },
        Entry { book: "credits", account: None, amount: Micros(-1_000_000_000) },
    ];
    let now = cloud.app().clock().now();
    ledger::post(cloud.app().store(), "rich", "credit", "", "rich", &rich, now).await.unwrap();
    alice.running_server("web1").await;
    for month in ["2026-12-01T01:00:00Z", "2027-01-01T01:00:00Z", "2027-02-01T01:00:00Z"] {
        until(&cloud, month);
        look(&cloud).await;
    }
    let numbers: Vec<_> =
        of(&cloud, &alice).await.into_iter().map(|invoice| invoice.content.number).collect();
    assert_eq!(numbers.len(), 13);
    assert_eq!(numbers[10..], ["2026-00011", "2027-00001", "2027-00002"]);
}

#[tokio::test]
async fn accounts_that_are_gone_from_the_way_are_not_looked_at_again() {
    let cloud = taxed_cloud().await;
    cloud.customer("alice").await;
    until(&cloud, "2026-02-01T01:00:00Z");
    look(&cloud).await;
    let due = bulut_store::invoices::due(cloud.app().store(), at("2026-02-01T00:00:00Z"), AccountId(0), 10);
    assert_eq!(due.await.unwrap(), []);
}
