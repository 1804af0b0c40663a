//! Letters and what they are about: the queue against a real mail server, links, payments, and accounts whose balance
//! runs out.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

mod cli;
mod dunning;
mod links;
mod payments;
mod queue;
mod smtp;

use bulut::domain::mails;
use bulut_model::mail::Mail;
use bulut_testkit::TestCloud;

/// All letters, oldest first.
async fn letters(cloud: &TestCloud) -> Vec<Mail> {
    let mut letters = mails::list(cloud.app(), None, mails::LISTED_MAX).await.unwrap();
    letters.reverse();
    letters
}

/// The templates of all letters, oldest first.
async fn templates(cloud: &TestCloud) -> Vec<&'static str> {
    letters(cloud).await.iter().map(|mail| mail.letter.template()).collect()
}
