//! Laws of invoices.

use crate::databases::{Db, at, laws};
use crate::world::{World, account, at_once};
use bulut_model::error::Kind;
use bulut_model::interval::{State, Subject, Terms};
use bulut_model::invoice::{BillingDetails, Content, Invoice, Line, Party, Quantity, Status};
use bulut_model::price::{Counting, Priced};
use bulut_model::tax::TaxRate;
use bulut_model::{AccountId, IntervalId, InvoiceId, Micros, ServerId};
use bulut_store::{Session, billing_details, intervals, invoices, prices};

laws! {
    both:
    an_invoice_comes_back_as_it_was_written
    invoices_are_told_newest_first_to_their_account_alone
    a_number_is_given_once
    numbers_of_invoices_at_the_same_time_have_no_gap
    an_invoice_that_is_not_written_takes_no_number
    the_database_refuses_to_change_an_invoice
    an_invoice_is_paid_once
    all_invoices_are_told_in_pages_oldest_first
    accounts_are_due_until_they_are_invoiced
    what_invoices_say_about_an_account_is_kept;
}

fn invoice(account: AccountId, number: &str, lines: Vec<Line>) -> Content {
    Content {
        account,
        number: number.into(),
        period_start: at(0),
        period_end: at(60),
        status: Status::Unpaid,
        currency: "EUR".into(),
        subtotal: Micros(10_080_000),
        tax_rate: TaxRate::from_millionths(190_000).unwrap(),
        tax: Micros(1_915_200),
        // One more than a float of 64 bits can tell from its neighbour.
        total: Micros((1 << 53) + 1),
        issued_at: at(61),
        due_at: at(62),
        issuer: Party {
            name: "Söhne & \"Co\"".into(),
            address: vec!["İstanbul".into()],
            vat_id: "DE1".into(),
        },
        recipient: Party { name: "Işık".into(), ..Party::default() },
        note: "a note".into(),
        lines,
    }
}

fn line(description: &str, server: Option<ServerId>) -> Line {
    Line {
        description: description.into(),
        details: "details ü".into(),
        label: "label".into(),
        quantity: Quantity(672_000_001),
        unit: "hour".into(),
        unit_price: Micros(15_000),
        amount: Micros(-10_080_000),
        server,
        intervals: vec![],
    }
}

/// An interval of the server, which ended.
async fn interval(s: &impl Session, world: &World, server: ServerId) -> IntervalId {
    let price = prices::get(s, Priced::Package(world.package)).await.unwrap();
    let terms = Terms {
        package: Some(world.package),
        state: State::Running,
        price: price.id,
        units: 1,
        unit_price: price.unit,
        monthly: price.monthly,
        counting: Counting::Second,
    };
    let new = intervals::New { account: world.account, subject: Subject::Server(server), server, terms };
    let id = intervals::open(s, &new, at(0)).await.unwrap();
    intervals::close(s, id, at(60), false).await.unwrap();
    id
}

async fn an_invoice_comes_back_as_it_was_written(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    let made_from = vec![interval(s, &world, server).await, interval(s, &world, server).await];
    let linked = Line { intervals: made_from, ..line("zeta ü", Some(server)) };
    let lines = vec![linked, line("alpha", None), line("beta", Some(server))];
    let paid =
        Content { status: Status::Paid { at: at(63) }, ..invoice(world.account, "2026-0002", Vec::new()) };
    let mut made = Vec::new();
    for content in [invoice(world.account, "2026-0001", lines), paid] {
        let tx = s.begin().await.unwrap();
        let id = invoices::insert(&tx, &content, "digest").await.unwrap();
        tx.commit().await.unwrap();
        made.push(Invoice { id, content });
    }
    for invoice in &made {
        assert_eq!(invoices::find(s, &invoice.content.number).await.unwrap().as_ref(), Some(invoice));
        assert_eq!(invoices::digest(s, invoice.id).await.unwrap(), "digest");
    }
    assert_eq!(invoices::find(s, "2026-0003").await.unwrap(), None);
    made.reverse();
    assert_eq!(invoices::list(s, world.account).await.unwrap(), made);
}

async fn invoices_are_told_newest_first_to_their_account_alone(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    for (account, number) in [(alice, "1"), (bob, "2"), (alice, "3")] {
        let lines = vec![line(number, None)];
        invoices::insert(s, &invoice(account, number, lines), "").await.unwrap();
    }
    for (account, numbers) in [(alice, &["3", "1"][..]), (bob, &["2"])] {
        let listed = invoices::list(s, account).await.unwrap();
        let told = |invoice: &Invoice| {
            let content = &invoice.content;
            assert_eq!(content.lines, [line(&content.number, None)]);
            content.number.clone()
        };
        assert_eq!(listed.iter().map(told).collect::<Vec<_>>(), numbers);
    }
}

async fn a_number_is_given_once(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    invoices::insert(s, &invoice(alice, "1", vec![]), "").await.unwrap();
    let refused = invoices::insert(s, &invoice(bob, "1", vec![line("a", None)]), "").await.unwrap_err();
    assert_eq!(refused.kind, Kind::AlreadyExists);
    assert_eq!(invoices::list(s, bob).await.unwrap(), []);
    let lines = s.all("SELECT description FROM invoice_line", vec![]).await.unwrap();
    assert_eq!(lines.len(), 0);
}

async fn numbers_of_invoices_at_the_same_time_have_no_gap(db: Db) {
    let alice = account(&db.store, "alice").await.id;
    let mut numbers = at_once(12, |turn| {
        let s = db.store.clone();
        async move {
            let tx = s.begin().await.unwrap();
            let number = invoices::next_number(&tx, "2026-#").await.unwrap();
            // Every third one is given up after it took its number.
            if turn % 3 == 0 {
                tx.rollback().await.unwrap();
                return None;
            }
            invoices::insert(&tx, &invoice(alice, &number.to_string(), vec![]), "").await.unwrap();
            tx.commit().await.unwrap();
            Some(number)
        }
    })
    .await
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=8).collect::<Vec<i64>>());
    assert_eq!(invoices::list(&db.store, alice).await.unwrap().len(), 8);
    assert_eq!(invoices::next_number(&db.store, "2027-#").await.unwrap(), 1, "another series begins at one");
}

async fn an_invoice_that_is_not_written_takes_no_number(db: Db) {
    let s = &db.store;
    for _ in 0..2 {
        let tx = s.begin().await.unwrap();
        assert_eq!(invoices::next_number(&tx, "#").await.unwrap(), 1);
        drop(tx);
    }
}

async fn the_database_refuses_to_change_an_invoice(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    let linked = Line { intervals: vec![interval(s, &world, server).await], ..line("a", Some(server)) };
    let written = invoice(world.account, "1", vec![linked]);
    let id = invoices::insert(s, &written, "").await.unwrap();
    for statement in [
        "UPDATE invoice SET total_micros = 0",
        "UPDATE invoice SET number = '2'",
        "UPDATE invoice SET recipient = '{}'",
        "UPDATE invoice SET digest = 'x', status = 'paid', paid_at = 1",
        "UPDATE invoice_line SET amount_micros = 0",
        "UPDATE invoice_line_interval SET position = 2",
        "DELETE FROM invoice_line_interval",
        "DELETE FROM invoice_line",
        "DELETE FROM invoice",
    ] {
        assert!(s.execute(statement, vec![]).await.is_err(), "{statement}");
    }
    assert_eq!(invoices::list(s, world.account).await.unwrap(), [Invoice { id, content: written }]);
}

async fn an_invoice_is_paid_once(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    let id = invoices::insert(s, &invoice(alice, "1", vec![]), "").await.unwrap();
    assert_eq!(invoices::with_unpaid(s, AccountId(0), 10).await.unwrap(), [alice]);
    assert!(invoices::set_paid(s, id, at(70)).await.unwrap());
    assert!(!invoices::set_paid(s, id, at(80)).await.unwrap());
    let paid = invoices::find(s, "1").await.unwrap().unwrap();
    assert_eq!(paid.content.status, Status::Paid { at: at(70) });
    assert_eq!(invoices::with_unpaid(s, AccountId(0), 10).await.unwrap(), []);
}

async fn all_invoices_are_told_in_pages_oldest_first(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    for (account, number) in [(alice, "1"), (bob, "2"), (alice, "3")] {
        invoices::insert(s, &invoice(account, number, vec![line(number, None)]), "").await.unwrap();
    }
    let numbers = |page: &[Invoice]| -> Vec<String> {
        page.iter().map(|invoice| invoice.content.lines[0].description.clone()).collect()
    };
    let first = invoices::list_all(s, InvoiceId(0), 2).await.unwrap();
    assert_eq!(numbers(&first), ["1", "2"]);
    assert_eq!(numbers(&invoices::list_all(s, first[1].id, 2).await.unwrap()), ["3"]);
}

async fn accounts_are_due_until_they_are_invoiced(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    assert_eq!(invoices::due(s, at(60), AccountId(0), 10).await.unwrap(), [alice, bob]);
    assert_eq!(invoices::due(s, at(60), alice, 10).await.unwrap(), [bob]);
    assert_eq!(invoices::due(s, at(60), AccountId(0), 1).await.unwrap(), [alice]);
    invoices::set_invoiced_until(s, alice, at(60)).await.unwrap();
    assert_eq!(invoices::invoiced_until(s, alice).await.unwrap(), at(60));
    assert_eq!(invoices::due(s, at(60), AccountId(0), 10).await.unwrap(), [bob]);
    assert_eq!(invoices::due(s, at(61), AccountId(0), 10).await.unwrap(), [alice, bob]);
}

async fn what_invoices_say_about_an_account_is_kept(db: Db) {
    let s = &db.store;
    let alice = account(s, "alice").await.id;
    assert_eq!(billing_details::get(s, alice).await.unwrap(), BillingDetails::default());
    let full = BillingDetails {
        name: Some("Işık Ltd.".into()),
        address: vec!["Straße 1".into(), "Köln".into()],
        vat_id: Some("DE123".into()),
        tax_rate: TaxRate::from_millionths(88_750),
        note: Some("Reverse charge".into()),
    };
    for details in [full, BillingDetails::default()] {
        billing_details::set(s, alice, &details, at(1)).await.unwrap();
        assert_eq!(billing_details::get(s, alice).await.unwrap(), details);
    }
}
