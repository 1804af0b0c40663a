//! Payments: what payment providers and billing systems credit to accounts, and the keys that they sign with.

use crate::{AccountId, Micros, PaymentId, PaymentKeyId, Timestamp};

/// A key that may credit accounts; its secret is shown once, and sealed in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentKey {
    /// Its id: the sender names it in each request.
    pub id: PaymentKeyId,
    /// What its operator calls it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last credited an account.
    pub last_used_at: Option<Timestamp>,
    /// When it was removed.
    pub removed_at: Option<Timestamp>,
}

/// What was credited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// To which account.
    pub account: AccountId,
    /// How much.
    pub amount: Micros,
    /// The balance right after it.
    pub balance: Micros,
    /// What it is called where it came from; may be empty.
    pub reference: String,
    /// When.
    pub created_at: Timestamp,
}

/// How far the sender's clock may be from ours, seconds.
pub const WINDOW_S: u64 = 300;
/// The most that one request may credit.
pub const AMOUNT_MAX: Micros = Micros(1_000_000_000_000);
/// Longest reference, characters.
pub const REFERENCE_MAX: usize = 200;

/// Whether a request that was signed then may be believed now.
pub fn is_in_time(signed_at_s: i64, now: Timestamp) -> bool {
    now.unix_seconds().abs_diff(signed_at_s) <= WINDOW_S
}

/// Checks what is to be credited.
///
/// Errors: `Invalid` for `amount`.
pub fn check_amount(amount: Micros) -> crate::Result<()> {
    if amount > Micros::ZERO && amount <= AMOUNT_MAX {
        return Ok(());
    }
    Err(crate::Error::invalid("amount", format!("The amount must be above 0 and at most {AMOUNT_MAX}.")))
}

/// Checks what a payment is called where it came from.
///
/// Errors: `Invalid` for `reference`.
pub fn check_reference(reference: &str) -> crate::Result<()> {
    if reference.chars().count() > REFERENCE_MAX || reference.chars().any(char::is_control) {
        return Err(crate::Error::invalid(
            "reference",
            format!(
                "The reference must have at most {REFERENCE_MAX} characters, none of them a control character."
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_believed_for_five_minutes_before_and_after() {
        let now = Timestamp::from_unix_seconds(1_000_000);
        for (signed, believed) in [(999_700, true), (999_699, false), (1_000_300, true), (1_000_301, false)] {
            assert_eq!(is_in_time(signed, now), believed, "{signed}");
        }
        assert!(!is_in_time(i64::MIN, now) && !is_in_time(i64::MAX, now));
    }

    #[test]
    fn an_amount_is_above_nothing_and_bounded() {
        assert!(check_amount(Micros(1)).is_ok() && check_amount(AMOUNT_MAX).is_ok());
        for bad in [0, -1, AMOUNT_MAX.0 + 1] {
            assert!(check_amount(Micros(bad)).is_err(), "{bad}");
        }
        assert!(check_reference(&"é".repeat(REFERENCE_MAX)).is_ok());
        assert!(check_reference(&"a".repeat(REFERENCE_MAX + 1)).is_err() && check_reference("a\nb").is_err());
    }
}
