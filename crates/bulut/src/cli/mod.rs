//! Room: the command line. Two families: commands for people who use a running cloud, through its public API alone;
//! and commands for its operator, on the box, on the state directory and the database.
//!
//! Promises: data to stdout, all else to stderr; `--json` on every read; exit code 0 done, 1 refused, 2 broken; an
//! error is one line and a hint. Must not know: HTTP handlers and SQL.

pub mod account;
pub mod address_pool;
pub mod api_key;
pub mod billing_details;
pub mod cloud;
pub mod completions;
pub mod context;
pub mod dns;
pub mod doctor;
pub mod event;
pub mod export;
pub mod failure;
pub mod image;
pub mod invoice;
pub mod key;
pub mod ledger;
pub mod login;
pub mod logout;
pub mod mail;
pub mod migrate;
pub mod node;
pub mod output;
pub mod package;
pub mod payment_key;
pub mod pool;
pub mod price;
pub mod region;
pub mod serve;
pub mod server;
pub mod session;
pub mod settings;
pub mod signing_key;
pub mod snapshot;
pub mod tag;
pub mod traffic;
pub mod transaction;
pub mod usage;
pub mod wire;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use context::Context;
use failure::{Failure, Result};
use output::Output;
use session::Home;
use settings::Settings;
use std::ffi::OsString;
use std::net::SocketAddr;
use tracing_subscriber::EnvFilter;

/// A VPS cloud in one binary: `bulut serve` runs it, the other commands use and operate it.
#[derive(Debug, Parser)]
#[command(name = "bulut", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// Print data as JSON
    #[arg(long, global = true)]
    json: bool,
    /// No notes and no progress; only the data, or only the id
    #[arg(long, short, global = true)]
    quiet: bool,
    /// What to log to stderr, for example info or bulut=debug
    #[arg(long, global = true, value_name = "FILTER", env = "BULUT_LOG", hide_env_values = true)]
    log: Option<String>,
    /// The cloud to talk to; the one that you are signed in to if absent
    #[arg(long, global = true, value_name = "URL", env = "BULUT_URL", hide_env_values = true)]
    url: Option<String>,
    #[command(subcommand)]
    command: Command,
}

/// What `bulut serve` is told.
#[derive(Debug, clap::Args)]
struct Serve {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS", env = "BULUT_LISTEN", hide_env_values = true)]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    Login(login::Login),
    /// Forget the session
    Logout,
    #[command(subcommand)]
    Server(server::ServerCommand),
    #[command(subcommand)]
    Image(image::ImageCommand),
    #[command(subcommand)]
    Package(package::PackageCommand),
    #[command(subcommand)]
    Region(region::RegionCommand),
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    #[command(subcommand)]
    Key(key::KeyCommand),
    #[command(subcommand)]
    Tag(tag::TagCommand),
    #[command(subcommand)]
    Event(event::EventCommand),
    Usage(usage::Usage),
    #[command(subcommand)]
    Invoice(invoice::InvoiceCommand),
    #[command(subcommand)]
    Transaction(transaction::TransactionCommand),
    /// Run the cloud on this machine
    Serve(Serve),
    /// Bring the database up to date without serving
    Migrate(Settings),
    #[command(subcommand)]
    Account(account::AccountCommand),
    #[command(subcommand)]
    ApiKey(api_key::ApiKeyCommand),
    #[command(subcommand)]
    Pool(pool::PoolCommand),
    #[command(subcommand)]
    AddressPool(address_pool::AddressPoolCommand),
    #[command(subcommand)]
    PaymentKey(payment_key::PaymentKeyCommand),
    #[command(subcommand)]
    Mail(mail::MailCommand),
    #[command(subcommand)]
    Traffic(traffic::TrafficCommand),
    #[command(subcommand)]
    Price(price::PriceCommand),
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    #[command(subcommand)]
    Node(node::NodeCommand),
    #[command(subcommand)]
    Dns(dns::DnsCommand),
    #[command(subcommand)]
    SigningKey(signing_key::SigningKeyCommand),
    /// Check what this machine needs to run a cloud, and say how to mend what is missing
    Doctor(Settings),
    Completions(completions::Completions),
}

/// Runs the program with these arguments (the first is its name) and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let output = Output { json: cli.json, quiet: cli.quiet };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => {
            let failure = Failure::broken(format!("cannot start threads: {why}"));
            output.failure(&failure);
            return failure.exit_code();
        }
    };
    let result = runtime.block_on(dispatch(cli, output));
    // A thread may still wait for a key that nobody will press; the process does not wait for it.
    runtime.shutdown_background();
    match result {
        Ok(()) => 0,
        Err(failure) => {
            output.failure(&failure);
            failure.exit_code()
        }
    }
}

async fn dispatch(cli: Cli, output: Output) -> Result<()> {
    // The cloud's log is its own affair: its level and form are settings.
    if !matches!(cli.command, Command::Serve(_)) {
        log_to_stderr(cli.log.as_deref())?;
    }
    let user = std::env::var("BULUT_USER").ok().filter(|user| !user.is_empty());
    let url = cli.url.filter(|url| !url.is_empty());
    let context = Context { output, url, user, home: Home::find() };
    match cli.command {
        Command::Login(login) => login::run(&context, login).await,
        Command::Logout => logout::run(&context).await,
        Command::Server(command) => server::run(&context, command).await,
        Command::Image(command) => image::run(&context, command).await,
        Command::Package(command) => package::run(&context, command).await,
        Command::Region(command) => region::run(&context, command).await,
        Command::Snapshot(command) => snapshot::run(&context, command).await,
        Command::Key(command) => key::run(&context, command).await,
        Command::Tag(command) => tag::run(&context, command).await,
        Command::Event(command) => event::run(&context, command).await,
        Command::Usage(usage) => usage::run(&context, usage).await,
        Command::Invoice(command) => invoice::run(&context, command).await,
        Command::Transaction(command) => transaction::run(&context, command).await,
        Command::Serve(serve) => {
            let config = serve.settings.load_with(serve.listen)?;
            serve::log(&config, cli.log.as_deref())?;
            serve::run(config).await
        }
        Command::Migrate(settings) => migrate::run(&context, &settings).await,
        Command::Account(command) => account::run(&context, command).await,
        Command::ApiKey(command) => api_key::run(&context, command).await,
        Command::Pool(command) => pool::run(&context, command).await,
        Command::AddressPool(command) => address_pool::run(&context, command).await,
        Command::PaymentKey(command) => payment_key::run(&context, command).await,
        Command::Mail(command) => mail::run(&context, command).await,
        Command::Traffic(command) => traffic::run(&context, command).await,
        Command::Price(command) => price::run(&context, command).await,
        Command::Ledger(command) => ledger::run(&context, command).await,
        Command::Node(command) => node::run(&context, command).await,
        Command::Dns(command) => dns::run(&context, command).await,
        Command::SigningKey(command) => signing_key::run(&context, command).await,
        Command::Doctor(settings) => doctor::run(&context, &settings).await,
        Command::Completions(completions) => completions::run(&context, &completions),
    }
}

fn log_to_stderr(filter: Option<&str>) -> Result<()> {
    let filter = EnvFilter::try_new(filter.unwrap_or("warn"))
        .map_err(|why| Failure::refused(format!("--log: {why}")).hint("for example --log info"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init().ok();
    Ok(())
}

/// Help and version are data; what was not understood is one line and a hint, like every other error.
fn not_understood(error: &clap::Error) -> u8 {
    let output = Output::default();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output.line(error.to_string().trim_end());
            0
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output.note(error.to_string().trim_end());
            1
        }
        _ => {
            let failure = usage_failure(&error.to_string());
            output.failure(&failure);
            failure.exit_code()
        }
    }
}

/// Shortens clap's paragraph: its first sentence with the list below it, and as a hint its tip or the usage.
fn usage_failure(text: &str) -> Failure {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let mut paragraphs = text.split("\n\n");
    let message = paragraphs.next().unwrap_or(text).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut hint = None;
    for paragraph in paragraphs.map(str::trim) {
        if let Some(tip) = paragraph.strip_prefix("tip: ") {
            hint = Some(tip.lines().next().unwrap_or(tip).to_owned());
        } else if let (Some(usage), None) = (paragraph.strip_prefix("Usage: "), &hint) {
            hint = Some(format!("usage: {}", usage.lines().next().unwrap_or(usage)));
        }
    }
    let failure = Failure::refused(message);
    failure.hint(hint.unwrap_or_else(|| "bulut --help".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        assert!(parse("bulut server list --json").unwrap().json);
        assert!(parse("bulut --json server list -q").unwrap().quiet);
        assert_eq!(parse("bulut region list --url http://x").unwrap().url.as_deref(), Some("http://x"));
    }

    #[test]
    fn wait_takes_its_stage_only_behind_an_equals_sign() {
        assert!(parse("bulut server create --name a --wait --timeout 5").is_ok());
        assert!(parse("bulut server create --name a --wait=cloud-init").is_ok());
        assert!(parse("bulut server create --name a --wait=soon").is_err());
        assert!(parse("bulut server start web1 --wait=reachable").is_ok());
    }

    #[test]
    fn a_command_for_ssh_stands_behind_two_dashes() {
        assert!(parse("bulut server ssh 7 -- uname -a --json").is_ok_and(|cli| !cli.json));
        assert!(parse("bulut server ssh 7 uname").is_err());
    }

    #[test]
    fn no_password_is_an_argument() {
        assert!(parse("bulut login --password secret").is_err());
    }

    #[test]
    fn what_is_not_understood_is_one_line_and_a_hint() {
        let failure = usage_failure(&parse("bulut server create").unwrap_err().to_string());
        assert_eq!(failure.message, "the following required arguments were not provided: --name <NAME>");
        assert_eq!(failure.hint.as_deref(), Some("usage: bulut server create --name <NAME>"));
        let failure = usage_failure(&parse("bulut completons bash").unwrap_err().to_string());
        assert_eq!(failure.message, "unrecognized subcommand 'completons'");
        assert_eq!(failure.hint.as_deref(), Some("a similar subcommand exists: 'completions'"));
        assert_eq!(failure.exit_code(), 1);
    }
}
