//! Which tools there are, and what they take, as JSON Schema has it. Names and sentences are read by a language model.

use serde_json::{Map, Value, json};

use super::calls;
use crate::cli::Target;

/// Something that an assistant may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    SearchPhotos,
    CountPhotos,
    ShowPhotos,
    DescribePicture,
    FindDuplicates,
    LibraryStatus,
}

impl Tool {
    const ALL: [Self; 6] = [
        Self::SearchPhotos,
        Self::CountPhotos,
        Self::ShowPhotos,
        Self::DescribePicture,
        Self::FindDuplicates,
        Self::LibraryStatus,
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::SearchPhotos => "search_photos",
            Self::CountPhotos => "count_photos",
            Self::ShowPhotos => "show_photos",
            Self::DescribePicture => "describe_picture",
            Self::FindDuplicates => "find_duplicates",
            Self::LibraryStatus => "library_status",
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// What was asked for is wrong, or cannot be had; says what to do.
    pub(super) async fn call(
        self,
        target: &Target,
        arguments: Map<String, Value>,
    ) -> anyhow::Result<Vec<Value>> {
        match self {
            Self::SearchPhotos => calls::search(target, arguments).await,
            Self::CountPhotos => calls::count(target, arguments).await,
            Self::ShowPhotos => calls::show(target, arguments).await,
            Self::DescribePicture => calls::describe(target, arguments).await,
            Self::FindDuplicates => calls::duplicates(target, arguments).await,
            Self::LibraryStatus => calls::status(target, arguments).await,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::SearchPhotos => "Search photos",
            Self::CountPhotos => "Count photos",
            Self::ShowPhotos => "Show photos",
            Self::DescribePicture => "Describe a picture",
            Self::FindDuplicates => "Find duplicates",
            Self::LibraryStatus => "Status of the library",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::SearchPhotos => {
                "Finds photos by words for what they show, by pictures that they resemble, by date, camera, folder, place, or \
                 several of these at once. With neither words nor pictures, lists the photos that meet the rest, the newest first."
            }
            Self::CountPhotos => "Counts photos by year, month, camera, type or folder.",
            Self::ShowPhotos => "Returns small pictures of indexed photos, to be looked at.",
            Self::DescribePicture => {
                "Says what a picture shows, indexed or not: the likeliest labels of the library's image classifier."
            }
            Self::FindDuplicates => "Lists groups of photos that are there more than once.",
            Self::LibraryStatus => {
                "Says how many photos are indexed, whether indexing goes on, which folders are watched, and by which network \
                 photos are found."
            }
        }
    }

    fn schema(self) -> Value {
        match self {
            Self::SearchPhotos => {
                let own = json!({
                    "text": {
                        "type": "string",
                        "description": "What the photos show, in English, as plain as can be: dog, golden retriever, \
                                        dog and frisbee, cat or dog, vehicle without wheels",
                    },
                    "like": { "type": "array", "items": picture(), "description": "Pictures that the photos resemble" },
                    "unlike": {
                        "type": "array",
                        "items": picture(),
                        "description": "Pictures that they do not resemble, beside words or pictures that they do",
                    },
                    "limit": limit("Photos", calls::PHOTOS),
                    "newest_first": {
                        "type": "boolean",
                        "description": "In the order of time instead of likeness",
                    },
                });
                object(with_filter(own), &[])
            }
            Self::CountPhotos => {
                let by = json!({
                    "by": { "type": "string", "enum": ["year", "month", "camera", "type", "folder"] },
                    "limit": limit("Lines", calls::COUNTS),
                });
                object(with_filter(by), &["by"])
            }
            Self::ShowPhotos => object(
                json!({
                    "photos": {
                        "type": "array",
                        "items": picture(),
                        "minItems": 1,
                        "maxItems": calls::MOST_SHOWN,
                    },
                    "longest_side": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 1024,
                        "default": 512,
                        "description": "Pixels",
                    },
                }),
                &["photos"],
            ),
            Self::DescribePicture => object(json!({ "picture": picture() }), &["picture"]),
            Self::FindDuplicates => {
                let own = json!({
                    "kind": {
                        "type": "string",
                        "enum": ["near", "exact", "burst", "pixels"],
                        "default": "near",
                        "description": "near: resized, recompressed, edited, turned, other shots of a scene; exact: the same \
                                        bytes; burst: taken within seconds by one camera; pixels: the same pixels in other bytes",
                    },
                    "limit": limit("Groups", calls::GROUPS),
                });
                object(with_filter(own), &[])
            }
            Self::LibraryStatus => object(json!({}), &[]),
        }
    }
}

/// Returns all tools, as a client lists them.
pub(super) fn described() -> Value {
    let described = Tool::ALL.into_iter().map(|tool| {
        json!({
            "name": tool.name(),
            "title": tool.title(),
            "description": tool.description(),
            "inputSchema": tool.schema(),
            "annotations": { "title": tool.title(), "readOnlyHint": true, "openWorldHint": false },
        })
    });
    described.collect()
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn picture() -> Value {
    json!({
        "type": "string",
        "description": "A photo's `content`, the absolute path of a file, or its file: URI",
    })
}

fn limit(what: &str, limits: calls::Limits) -> Value {
    json!({
        "type": "integer",
        "minimum": 1,
        "maximum": limits.most,
        "default": limits.usual,
        "description": format!("{what} at the most"),
    })
}

/// Adds the conditions that photos may have to meet ([`super::asking::FilterAsked`]).
fn with_filter(mut properties: Value) -> Value {
    let filter = json!({
        "since": {
            "type": "string",
            "description": "Taken then or later: 2024, 2024-06, 2024-06-30, 2024-06-30T18:00:00, yesterday, today",
        },
        "before": { "type": "string", "description": "Taken before that, written alike" },
        "undated": { "type": "boolean", "description": "Only photos that do not say when they were taken" },
        "folders": {
            "type": "array",
            "items": { "type": "string" },
            "description": "In one of these folders or below: absolute paths",
        },
        "cameras": {
            "type": "array",
            "items": { "type": "string" },
            "description": "Taken with a camera whose name contains one of these",
        },
        "types": {
            "type": "array",
            "items": { "type": "string" },
            "description": "jpeg, png, heic, raw, ...",
        },
        "around": {
            "type": "object",
            "properties": {
                "latitude": { "type": "number" },
                "longitude": { "type": "number" },
                "kilometres": { "type": "number" },
            },
            "required": ["latitude", "longitude", "kilometres"],
            "additionalProperties": false,
            "description": "Taken so near a point, in degrees north and east",
        },
        "within": {
            "type": "object",
            "properties": {
                "south": { "type": "number" },
                "west": { "type": "number" },
                "north": { "type": "number" },
                "east": { "type": "number" },
            },
            "required": ["south", "west", "north", "east"],
            "additionalProperties": false,
            "description": "Taken between these degrees; not together with around",
        },
        "online": {
            "type": "boolean",
            "description": "true: on a drive that is there; false: on one that is away",
        },
    });
    if let (Value::Object(properties), Value::Object(filter)) = (&mut properties, filter) {
        properties.extend(filter);
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::asking::FilterAsked;

    #[test]
    fn a_filter_takes_all_that_its_schema_names_and_nothing_else() {
        let schema = with_filter(json!({}));
        let sample = |kind: &Value| match kind["type"].as_str() {
            Some("string") => json!("2024"),
            Some("boolean") => json!(true),
            Some("array") => json!(["jpeg"]),
            _ => kind["properties"].as_object().unwrap().keys().map(|key| (key.clone(), json!(1))).collect(),
        };
        let mut arguments: Map<String, Value> =
            schema.as_object().unwrap().iter().map(|(name, kind)| (name.clone(), sample(kind))).collect();
        arguments.insert("text".into(), "dog".into());
        let asked = FilterAsked::take(&mut arguments).unwrap();
        assert_eq!(arguments.keys().collect::<Vec<_>>(), ["text"]);
        // Of the place only one of the two is meant.
        assert!(asked.to_args().unwrap_err().to_string().contains("within"));
    }

    #[test]
    fn each_tool_is_found_by_its_name() {
        for tool in Tool::ALL {
            assert_eq!(Tool::named(tool.name()), Some(tool));
        }
        assert_eq!(Tool::named("delete_photos"), None);
    }
}
