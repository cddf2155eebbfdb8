//! The arguments of a call, from the command line.

use serde_json::{Map, Value};

use crate::failure::Failure;

/// Returns the arguments as polywire has them: a list, a map, or a map in which a position is a
/// name.
///
/// # Errors
///
/// Wrong usage, for text that is no JSON, and for named arguments that are no object.
pub(crate) fn arguments(positional: &[String], named: Option<&str>) -> Result<Value, Failure> {
    let positional: Vec<_> = positional.iter().map(|text| parse(text)).collect::<Result<_, _>>()?;
    let named = match named.map(parse).transpose()? {
        None => Map::new(),
        Some(Value::Object(named)) => named,
        Some(_) => return Err(Failure::Usage("--named has to be a JSON object".to_owned())),
    };
    if named.is_empty() {
        return Ok(Value::from(positional));
    }
    let positions = positional.into_iter().enumerate().map(|(at, value)| (at.to_string(), value));
    Ok(positions.chain(named).collect())
}

fn parse(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::Usage(format!("cannot read {text:?} as JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn positional_and_named_arguments_mix() {
        let read = |positional: &[&str], named| {
            let positional: Vec<_> = positional.iter().map(|text| (*text).to_owned()).collect();
            arguments(&positional, named)
        };
        assert_eq!(read(&[], None).unwrap(), json!([]));
        assert_eq!(read(&["2", "\"x\""], None).unwrap(), json!([2, "x"]));
        assert_eq!(read(&[], Some("{\"b\": 3}")).unwrap(), json!({ "b": 3 }));
        assert_eq!(read(&["2"], Some("{\"b\": 3}")).unwrap(), json!({ "0": 2, "b": 3 }));
        for (positional, named) in
            [(&["x"][..], None), (&[][..], Some("[1]")), (&[][..], Some("{"))]
        {
            assert_eq!(read(positional, named).unwrap_err().code(), 2);
        }
    }
}
