//! From `main` to the exit code: arguments in, one line out if something is wrong.

use std::process::ExitCode;

use super::Failure;
use super::args::{Asked, CommandLine};
use super::screen::Screen;

/// Runs a program: 0 if it kept its promises, 1 if not, 2 if an argument is wrong.
pub(crate) fn run<A: 'static>(
    name: &'static str,
    line: &CommandLine<A>,
    args: A,
    program: impl FnOnce(&A, &Screen) -> Result<(), Failure>,
) -> ExitCode {
    let screen = Screen::new(name);
    let args = match line.parse(args, std::env::args_os().skip(1)) {
        Ok(Asked::Run(args)) => args,
        Ok(Asked::Help(text)) => {
            screen.say(&text);
            return ExitCode::SUCCESS;
        }
        Err(mistake) => {
            screen.complain(&mistake);
            return ExitCode::from(2);
        }
    };
    match program(&args, &screen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            screen.complain(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}
