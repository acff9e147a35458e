//! The command line: options with a bound, a default and a plain word when they are wrong.
//!
//! The defaults are those of the value that is handed to [`CommandLine::parse`]; the help shows them.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What a program can be told. `A` is its struct of arguments.
pub(crate) struct CommandLine<A> {
    program: &'static str,
    about: &'static str,
    options: Vec<Opt<A>>,
    check: fn(&A) -> Result<(), String>,
}

struct Opt<A> {
    /// `--seats N`: what is written before the text; the first word is the name. A name without dashes is a
    /// word that stands alone.
    usage: &'static str,
    about: String,
    default: Box<dyn Fn(&mut A) -> String>,
    set: Setter<A>,
}

type SetValue<A> = dyn Fn(&mut A, &OsStr) -> Result<(), String>;

enum Setter<A> {
    Value(Box<SetValue<A>>),
    /// Takes no value. Without a text it is not for people, and not in the help.
    Switch(fn(&mut A) -> &mut bool),
}

/// What the command line asks for.
pub(crate) enum Asked<A> {
    Run(A),
    Help(String),
}

/// A value out of a few that have names.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    const ALL: &'static [(&'static str, Self)];
}

impl<A: 'static> CommandLine<A> {
    /// `about` says in a line what the program does.
    pub(crate) fn new(program: &'static str, about: &'static str) -> Self {
        Self { program, about, options: Vec::new(), check: |_| Ok(()) }
    }

    /// A whole number. `{}` in the text becomes the bounds.
    pub(crate) fn number<N>(
        self,
        usage: &'static str,
        about: &str,
        bounds: RangeInclusive<N>,
        field: fn(&mut A) -> &mut N,
    ) -> Self
    where
        N: FromStr + PartialOrd + Display + Copy + 'static,
    {
        let about = about.replace("{}", &format!("{} to {}", bounds.start(), bounds.end()));
        let default = move |args: &mut A| field(args).to_string();
        self.text(usage, about, default, move |args, text| {
            *field(args) = number(name_of(usage), text, &bounds)?;
            Ok(())
        })
    }

    /// One of several names. `{}` in the text becomes the names.
    pub(crate) fn choice<C: Choice>(
        self,
        usage: &'static str,
        about: &str,
        field: fn(&mut A) -> &mut C,
    ) -> Self {
        let names: Vec<&str> = C::ALL.iter().map(|(name, _)| *name).collect();
        let names = match names.as_slice() {
            [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            _ => names.concat(),
        };
        let about = about.replace("{}", &names);
        let default = move |args: &mut A| {
            let value = *field(args);
            C::ALL.iter().find(|(_, one)| *one == value).map_or("", |(name, _)| *name).to_owned()
        };
        self.text(usage, about, default, move |args, text| {
            let found = C::ALL.iter().find(|(name, _)| *name == text);
            let found = found.ok_or_else(|| format!("{} is {names}, not \"{text}\"", name_of(usage)))?;
            *field(args) = found.1;
            Ok(())
        })
    }

    /// A time such as `250ms`, `10s` or `0`. Not given, it is what `otherwise` says.
    pub(crate) fn time(
        self,
        usage: &'static str,
        about: &str,
        most: Duration,
        otherwise: &'static str,
        field: fn(&mut A) -> &mut Option<Duration>,
    ) -> Self {
        self.text(
            usage,
            about.to_owned(),
            move |_| otherwise.to_owned(),
            move |args, text| {
                let time = time(text).filter(|time| *time <= most).ok_or_else(|| {
                    let (name, some, most) = (name_of(usage), written(most / 4), written(most));
                    format!("{name} takes a time up to {most}, such as {some}, not \"{text}\"")
                })?;
                *field(args) = Some(time);
                Ok(())
            },
        )
    }

    /// A path. Not given, it is what `otherwise` says.
    pub(crate) fn path(
        self,
        usage: &'static str,
        about: &str,
        otherwise: &'static str,
        field: fn(&mut A) -> &mut Option<PathBuf>,
    ) -> Self {
        self.value(
            usage,
            about.to_owned(),
            move |_| otherwise.to_owned(),
            move |args, value| {
                if value.is_empty() {
                    return Err(format!("{} needs a path", name_of(usage)));
                }
                *field(args) = Some(PathBuf::from(value));
                Ok(())
            },
        )
    }

    /// A word without a value. Not given, it is what `otherwise` says.
    pub(crate) fn switch(
        mut self,
        usage: &'static str,
        about: &str,
        otherwise: &'static str,
        field: fn(&mut A) -> &mut bool,
    ) -> Self {
        let default = Box::new(move |_: &mut A| otherwise.to_owned());
        self.options.push(Opt { usage, about: about.to_owned(), default, set: Setter::Switch(field) });
        self
    }

    /// A switch for the program itself.
    pub(crate) fn hidden_switch(self, usage: &'static str, field: fn(&mut A) -> &mut bool) -> Self {
        self.switch(usage, "", "", field)
    }

    /// What has to be looked at when everything is there.
    pub(crate) fn check(self, check: fn(&A) -> Result<(), String>) -> Self {
        Self { check, ..self }
    }

    fn text(
        self,
        usage: &'static str,
        about: String,
        default: impl Fn(&mut A) -> String + 'static,
        set: impl Fn(&mut A, &str) -> Result<(), String> + 'static,
    ) -> Self {
        self.value(usage, about, default, move |args, value| set(args, &value.to_string_lossy()))
    }

    fn value(
        mut self,
        usage: &'static str,
        about: String,
        default: impl Fn(&mut A) -> String + 'static,
        set: impl Fn(&mut A, &OsStr) -> Result<(), String> + 'static,
    ) -> Self {
        let (default, set) = (Box::new(default), Setter::Value(Box::new(set)));
        self.options.push(Opt { usage, about, default, set });
        self
    }

    /// Reads the words of a command line into `args`, which hold the defaults.
    pub(crate) fn parse(
        &self,
        mut args: A,
        words: impl IntoIterator<Item = OsString>,
    ) -> Result<Asked<A>, String> {
        let help = self.help(&mut args);
        let mut words = words.into_iter();
        let alone = self.options.iter().filter(|option| !option.usage.starts_with("--"));
        let mut alone = alone.peekable();
        while let Some(word) = words.next() {
            let text = word.to_string_lossy();
            let (name, joined) = match text.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
                _ => (&*text, None),
            };
            // Only a path may be other than text. Cut out of a word, it would become another path.
            if joined.is_some() && word.to_str().is_none() {
                return Err(format!(
                    "the value of {name} is no text; give it as the next word, without \"=\""
                ));
            }
            if name == "--help" || name == "-h" {
                return Ok(Asked::Help(help));
            }
            let named = self.options.iter().find(|one| name.starts_with("--") && name_of(one.usage) == name);
            match named.map(|option| &option.set) {
                Some(Setter::Switch(_)) if joined.is_some() => return Err(format!("{name} takes no value")),
                Some(Setter::Switch(field)) => *field(&mut args) = true,
                Some(Setter::Value(set)) => {
                    let value = joined.or_else(|| words.next());
                    set(&mut args, &value.ok_or_else(|| format!("{name} needs a value; see --help"))?)?;
                }
                None => match alone.next_if(|_| !name.starts_with('-')).map(|option| &option.set) {
                    Some(Setter::Value(set)) => set(&mut args, &word)?,
                    _ => return Err(format!("unknown argument \"{name}\"; see --help")),
                },
            }
        }
        (self.check)(&args)?;
        Ok(Asked::Run(args))
    }

    fn help(&self, args: &mut A) -> String {
        let alone = self.options.iter().find(|option| !option.usage.starts_with("--"));
        let alone = alone.map(|option| format!("[{}] ", option.usage)).unwrap_or_default();
        let mut text = format!(
            "{}\n\nUsage: cargo run --release --example {} -- {alone}[OPTIONS]\n\n",
            self.about, self.program
        );
        for option in &self.options {
            let lines = option.about.lines().count();
            for (index, line) in option.about.lines().enumerate() {
                let usage = if index == 0 { option.usage } else { "" };
                if index + 1 < lines {
                    text.push_str(&format!("  {usage:<15}{line}\n"));
                } else {
                    text.push_str(&format!("  {usage:<15}{line:<51} [{}]\n", (option.default)(args)));
                }
            }
        }
        text + "  --help         this text\n\n\
             Exits with 0 if every promise was kept, 1 if one was broken or the engine failed,\n\
             2 if an argument is wrong. NO_COLOR turns colours off.\n"
    }
}

fn name_of(usage: &'static str) -> &'static str {
    usage.split(' ').next().unwrap_or(usage)
}

fn number<N: FromStr + PartialOrd + Display>(
    name: &str,
    text: &str,
    bounds: &RangeInclusive<N>,
) -> Result<N, String> {
    text.parse().ok().filter(|number| bounds.contains(number)).ok_or_else(|| {
        format!("{name} takes a whole number from {} to {}, not \"{text}\"", bounds.start(), bounds.end())
    })
}

/// A whole number with its unit; nothing needs none.
fn time(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let number: u64 = digits.parse().ok()?;
    match text.get(digits.len()..)? {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "" if number == 0 => Some(Duration::ZERO),
        _ => None,
    }
}

/// A time as [`time`] reads it.
fn written(time: Duration) -> String {
    match time.subsec_nanos() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    }
}
