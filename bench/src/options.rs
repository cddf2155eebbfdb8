//! What is asked for on the command line.

use anyhow::{Context, Result, bail};

use crate::subject::Subject;

pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) in_flight: Vec<usize>,
    pub(crate) subjects: Vec<Subject>,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options =
            Self { rounds: 3, seconds: 2.0, in_flight: vec![1, 64, 512], subjects: Vec::new() };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--rounds" => options.rounds = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--in-flight" => {
                    options.in_flight =
                        value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                flag if flag.starts_with('-') => bail!("unknown option {flag}"),
                name => options.subjects.push(Subject::named(name)?),
            }
        }
        if options.subjects.is_empty() {
            options.subjects = Subject::ALL.to_vec();
        }
        Ok(options)
    }

    pub(crate) fn needs_broker(&self) -> bool {
        self.subjects.iter().any(|subject| subject.needs_broker())
    }
}
