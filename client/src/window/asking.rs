//! What the page asks for, in JSON: filters and examples as the command line has them, with paths as URIs.

use hyper::body::Bytes;
use percent_encoding::percent_decode_str;
use prost_types::Timestamp;
use resembled_api::proto;
use resembled_api::proto::example;
use resembled_api::proto::search_photos_request::Query;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::Failure;
use crate::{asked, filter};

/// Reads `q` of a query, percent-encoded JSON. Without one, the default is asked for.
///
/// # Errors
/// It is no JSON, or not what belongs there.
pub(super) fn parse<T: DeserializeOwned>(query: Option<&str>) -> Result<T, Failure> {
    let fields = query.unwrap_or_default().split('&');
    let encoded = fields.into_iter().find_map(|field| field.strip_prefix("q=")).unwrap_or("%7B%7D");
    let text = percent_decode_str(encoded).decode_utf8();
    text.map_err(|_| Failure::bad("q must be UTF-8")).and_then(|text| parse_json(text.as_bytes()))
}

/// Reads the body of a request that changes something.
///
/// # Errors
/// It is no JSON, or not what belongs there.
pub(super) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::bad(format!("not understood: {error}")))
}

/// Only some photos.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Filter {
    /// URIs.
    folders: Vec<String>,
    cameras: Vec<String>,
    lenses: Vec<String>,
    /// Media types, or their short names.
    types: Vec<String>,
    /// As `--since` and `--before` take them.
    since: Option<String>,
    before: Option<String>,
    dated: Option<bool>,
    online: Option<bool>,
}

impl Filter {
    /// # Errors
    /// A time or type that there is not.
    pub(super) fn to_proto(&self) -> Result<Option<proto::Filter>, Failure> {
        let time = |text: &Option<String>| {
            let seconds = text.as_deref().map(filter::parse_time).transpose().map_err(Failure::bad)?;
            Ok::<_, Failure>(seconds.map(|seconds| Timestamp { seconds, nanos: 0 }))
        };
        let mut media_types = Vec::new();
        for name in &self.types {
            media_types.extend(filter::media_types(name).map_err(Failure::bad)?.names());
        }
        let filter = proto::Filter {
            folder_uris: self.folders.clone(),
            cameras: self.cameras.clone(),
            lenses: self.lenses.clone(),
            media_types,
            taken_from: time(&self.since)?,
            taken_before: time(&self.before)?,
            dated: self.dated,
            online: self.online,
            ..Default::default()
        };
        Ok((filter != proto::Filter::default()).then_some(filter))
    }
}

/// One example of what is searched for: one of the three.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Example {
    /// A photo of the index, by its content.
    photo: Option<String>,
    text: Option<String>,
    /// The picture in the body.
    picture: bool,
    /// Above 0 liked, below disliked; 1 where nothing is said.
    weight: Option<f32>,
}

/// Returns the query for examples. One alone is asked for as such: the answer says more then.
///
/// # Errors
/// There is none; a picture is meant that did not come with the request.
pub(super) fn query(examples: &[Example], picture: &Bytes) -> Result<Query, Failure> {
    let one = |example: &Example| {
        Ok(match (&example.photo, &example.text, example.picture) {
            (Some(content), None, false) => example::Query::Photo(format!("photos/{content}")),
            (None, Some(text), false) => example::Query::Text(text.clone()),
            (None, None, true) if picture.is_empty() => {
                return Err(Failure::bad("the picture is missing: choose it again"));
            }
            (None, None, true) => example::Query::Image(picture.clone()),
            _ => return Err(Failure::bad("an example is a photo, a text or a picture")),
        })
    };
    match examples {
        [] => Err(Failure::bad("an example is missing")),
        [alone] if alone.weight.is_none_or(|weight| weight > 0.0) => Ok(match one(alone)? {
            example::Query::Photo(name) => Query::Photo(name),
            example::Query::Text(text) => Query::Text(text),
            example::Query::Image(bytes) => Query::Image(bytes),
            _ => return Err(Failure::bad("an example is a photo, a text or a picture")),
        }),
        several => {
            let weighed = several
                .iter()
                .map(|example| Ok(proto::Example { query: Some(one(example)?), weight: example.weight }));
            let mut examples = weighed.collect::<Result<Vec<_>, Failure>>()?;
            asked::balance(&mut examples);
            Ok(Query::Examples(proto::Examples { examples }))
        }
    }
}

/// Whether it is the hash of a content, as names of photos have it.
pub(super) fn is_content(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_as_the_command_line_reads_it() {
        let parsed = |text: &str| parse_json::<Filter>(text.as_bytes()).and_then(|filter| filter.to_proto());
        assert!(parsed("{}").unwrap().is_none());
        let filter = parsed(
            r#"{"folders":["file:///p/%FF"],"since":"1970-02","before":"1971","types":["jpg"],"dated":true}"#,
        );
        let filter = filter.unwrap().unwrap();
        assert_eq!(filter.folder_uris, ["file:///p/%FF"]);
        assert_eq!(filter.taken_from.map(|time| time.seconds), Some(31 * 86_400));
        assert_eq!(filter.taken_before.map(|time| time.seconds), Some(365 * 86_400));
        assert_eq!((filter.media_types, filter.dated), (vec!["image/jpeg".to_owned()], Some(true)));
        for wrong in [r#"{"since":"soon"}"#, r#"{"types":["docx"]}"#, r#"{"folder":[]}"#, "[", ""] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_example_is_a_query_and_several_are_weighed() {
        let ask = |text: &str, picture: &'static [u8]| {
            query(&parse_json::<Vec<Example>>(text.as_bytes()).unwrap(), &Bytes::from_static(picture))
        };
        assert_eq!(ask(r#"[{"photo":"ab"}]"#, b"").unwrap(), Query::Photo("photos/ab".into()));
        assert_eq!(ask(r#"[{"text":"dog"}]"#, b"").unwrap(), Query::Text("dog".into()));
        assert_eq!(ask(r#"[{"picture":true}]"#, b"x").unwrap(), Query::Image(Bytes::from_static(b"x")));
        for wrong in ["[]", "[{}]", r#"[{"picture":true}]"#, r#"[{"photo":"a","text":"b"}]"#] {
            assert!(ask(wrong, b"").is_err(), "{wrong}");
        }
        let Query::Examples(examples) = ask(r#"[{"photo":"ab"},{"text":"dog","weight":-1}]"#, b"").unwrap()
        else {
            panic!("no examples")
        };
        let weights: Vec<_> = examples.examples.iter().map(|example| example.weight).collect();
        assert_eq!(weights, [None, Some(-1.0)]);
        assert!(matches!(ask(r#"[{"text":"dog","weight":-1}]"#, b""), Ok(Query::Examples(_))));
    }

    #[test]
    fn the_query_of_an_address_is_decoded() {
        let read = |query| parse::<Vec<String>>(Some(query)).ok();
        assert_eq!(read("q=%5B%22%C3%BC%20%26%22%5D"), Some(vec!["ü &".to_owned()]));
        assert_eq!(read("x=1&q=%5B%5D"), Some(Vec::new()));
        assert_eq!(read("q=%5B%22%FF%22%5D"), None);
        assert_eq!(parse::<Filter>(None).unwrap().to_proto().unwrap(), None);
        assert!(is_content(&"0f".repeat(32)) && !is_content(&"0F".repeat(32)) && !is_content("../etc"));
    }
}
