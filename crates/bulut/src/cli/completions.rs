//! Room: the command line. `bulut completions SHELL`: prints the completion script of a shell.

use super::context::Context;
use super::failure::Result;
use clap::{Args, CommandFactory as _, ValueEnum};

/// Print the completion script of a shell
///
/// bash: source <(bulut completions bash)
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// The shells that there are scripts for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Shell {
    /// GNU bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// Runs the command.
pub fn run(context: &Context, completions: &Completions) -> Result<()> {
    let shell = match completions.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    context.output.raw(&script(shell));
    Ok(())
}

fn script(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::Cli::command(), "bulut", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shells_script_knows_the_commands() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let script = String::from_utf8(script(shell)).unwrap();
            for word in ["server", "console", "doctor", "image"] {
                assert!(script.contains(word), "{shell} lacks {word}");
            }
        }
    }
}
