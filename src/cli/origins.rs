//! Where the values of the connection flags came from: an error that names a flag also says which variable set it, or
//! would.

use clap::ArgMatches;
use clap::Args;
use clap::Command;
use clap::FromArgMatches;
use clap::parser::ValueSource;

use crate::cli::context::selected::SelectedContext;

pub(in crate::cli) const SERVER: &str = "LANYARD_SERVER";
pub(in crate::cli) const CA: &str = "LANYARD_CA";
pub(in crate::cli) const CERT: &str = "LANYARD_CERT";
pub(in crate::cli) const KEY: &str = "LANYARD_KEY";

/// Each flag, and the variable that sets it where the command line does not.
const VARIABLES: [(&str, &str); 4] = [("--server", SERVER), ("--ca", CA), ("--cert", CERT), ("--key", KEY)];

/// Where a value came from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    CommandLine,
    Variable,
    /// There is none, or it is the default.
    Nowhere,
}

/// The origins of the four values, in the order of `VARIABLES`.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Origins([Origin; 4]);

impl Origins {
    /// All values were chosen by the program itself, so no variable has a part in them.
    pub(in crate::cli) const OWN: Self = Self([Origin::CommandLine; 4]);

    /// Whether neither the command line nor a variable names the server.
    pub(in crate::cli) fn server_is_default(self) -> bool {
        let [server, ..] = self.0;
        matches!(server, Origin::Nowhere)
    }

    /// Adds the variable, or the context, to the first mention of each flag that was not given on the command line.
    pub(in crate::cli) fn named_in(self, text: &str, context: &SelectedContext) -> String {
        let mut named = text.to_owned();
        for ((flag, variable), origin) in VARIABLES.into_iter().zip(self.0) {
            let note = match origin {
                Origin::CommandLine => continue,
                Origin::Variable => format!(" (from {variable})"),
                Origin::Nowhere => match context.setting(flag) {
                    Some(context) => format!(" (from the context {context})"),
                    None => format!(" (or {variable})"),
                },
            };
            if let Some(end) = end_of(flag, &named) {
                named.insert_str(end, &note);
            }
        }
        named
    }
}

/// Where the first mention of this flag ends, and not that of a longer one.
fn end_of(flag: &str, text: &str) -> Option<usize> {
    let mut ends = text.match_indices(flag).map(|(start, _)| start + flag.len());
    ends.find(|end| {
        !text.get(*end..).unwrap_or_default().starts_with(|next: char| next.is_alphanumeric() || next == '-')
    })
}

impl FromArgMatches for Origins {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(VARIABLES.map(|(flag, _)| match matches.value_source(flag.trim_start_matches('-')) {
            Some(ValueSource::CommandLine) => Origin::CommandLine,
            Some(ValueSource::EnvVariable) => Origin::Variable,
            Some(_) | None => Origin::Nowhere,
        })))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Origins {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_mention_of_the_flag_itself_gets_its_variable() {
        let origins = Origins([Origin::Nowhere, Origin::Variable, Origin::Variable, Origin::CommandLine]);
        let text = "--certificate and --cert-x are not --cert, --cert; --ca: --key, --server";
        let named = "--certificate and --cert-x are not --cert (from LANYARD_CERT), --cert; \
                     --ca (from LANYARD_CA): --key, --server (or LANYARD_SERVER)";
        assert_eq!(origins.named_in(text, &SelectedContext::NONE), named);
        assert_eq!(Origins::OWN.named_in(text, &SelectedContext::NONE), text);
    }
}
