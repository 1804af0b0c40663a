//! Firewalls: the rules of servers, in their order.

use crate::session::{Failure, Row, Session};
use bulut_model::firewall::{Action, Direction, FirewallRule, Protocol};
use bulut_model::{Result, ServerId};
use std::str::FromStr;

fn word<T>(row: &Row, column: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, Failure> {
    let text = row.text(column)?;
    read(&text).ok_or_else(|| Failure::Fault(format!("column {column} holds '{text}'")))
}

fn parsed<T: FromStr>(row: &Row, column: &str) -> Result<Option<T>, Failure> {
    let Some(text) = row.opt_text(column)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Failure::Fault(format!("column {column} holds '{text}'")))
}

fn rule(row: &Row) -> Result<FirewallRule, Failure> {
    Ok(FirewallRule {
        direction: word(row, "direction", Direction::from_word)?,
        action: word(row, "action", Action::from_word)?,
        protocol: word(row, "protocol", Protocol::from_word)?,
        ports: parsed(row, "ports")?,
        network: parsed(row, "network")?,
    })
}

/// A server's rules; the first that fits decides.
pub async fn list(s: &impl Session, server: ServerId) -> Result<Vec<FirewallRule>> {
    let sql = "SELECT direction, action, protocol, ports, network FROM firewall_rule WHERE server_id = $1 \
               ORDER BY position";
    let rows = s.all(sql, vec![server.0.into()]).await?;
    Ok(rows.iter().map(rule).collect::<Result<_, _>>()?)
}

/// Makes a server's rules exactly these. Run it in a transaction.
pub async fn set(s: &impl Session, server: ServerId, rules: &[FirewallRule]) -> Result<()> {
    s.execute("DELETE FROM firewall_rule WHERE server_id = $1", vec![server.0.into()]).await?;
    for (position, rule) in (1_i64..).zip(rules) {
        s.execute(
            "INSERT INTO firewall_rule (server_id, position, direction, action, protocol, ports, network) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            vec![
                server.0.into(),
                position.into(),
                rule.direction.as_str().into(),
                rule.action.as_str().into(),
                rule.protocol.as_str().into(),
                rule.ports.map(|ports| ports.to_string()).into(),
                rule.network.map(|network| network.to_string()).into(),
            ],
        )
        .await?;
    }
    Ok(())
}
