//! Laws of invoices.

use crate::databases::{Db, at, laws};
use crate::world::{World, account};
use bulut_model::error::Kind;
use bulut_model::invoice::{Content, Invoice, Line, Quantity, Status};
use bulut_model::{AccountId, Micros, ServerId};
use bulut_store::{Session, invoices};

laws! {
    both:
    an_invoice_comes_back_as_it_was_written
    invoices_are_told_newest_first_to_their_account_alone
    a_number_is_given_once;
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
        tax: Micros(1_915_200),
        // One more than a float of 64 bits can tell from its neighbour.
        total: Micros((1 << 53) + 1),
        issued_at: at(61),
        due_at: at(62),
        lines,
    }
}

fn line(description: &str, server: Option<ServerId>) -> Line {
    Line {
        description: description.into(),
        quantity: Quantity(672_000_001),
        unit: "hour".into(),
        unit_price: Micros(15_000),
        amount: Micros(-10_080_000),
        server,
    }
}

async fn an_invoice_comes_back_as_it_was_written(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web1").await;
    let lines = vec![line("zeta ü", Some(server)), line("alpha", None), line("beta", Some(server))];
    let paid =
        Content { status: Status::Paid { at: at(63) }, ..invoice(world.account, "2026-0002", Vec::new()) };
    let mut made = Vec::new();
    for content in [invoice(world.account, "2026-0001", lines), paid] {
        let tx = s.begin().await.unwrap();
        let id = invoices::insert(&tx, &content).await.unwrap();
        tx.commit().await.unwrap();
        made.push(Invoice { id, content });
    }
    made.reverse();
    assert_eq!(invoices::list(s, world.account).await.unwrap(), made);
}

async fn invoices_are_told_newest_first_to_their_account_alone(db: Db) {
    let s = &db.store;
    let (alice, bob) = (account(s, "alice").await.id, account(s, "bob").await.id);
    for (account, number) in [(alice, "1"), (bob, "2"), (alice, "3")] {
        let lines = vec![line(number, None)];
        invoices::insert(s, &invoice(account, number, lines)).await.unwrap();
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
    invoices::insert(s, &invoice(alice, "1", vec![])).await.unwrap();
    let refused = invoices::insert(s, &invoice(bob, "1", vec![line("a", None)])).await.unwrap_err();
    assert_eq!(refused.kind, Kind::AlreadyExists);
    assert_eq!(invoices::list(s, bob).await.unwrap(), []);
    let lines = s.all("SELECT description FROM invoice_line", vec![]).await.unwrap();
    assert_eq!(lines.len(), 0);
}
