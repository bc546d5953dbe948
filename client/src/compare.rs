//! `resemble compare`

use std::path::Path;

use resembled_api::proto;
use resembled_api::proto::Verdict;
use resembled_api::proto::search_service_client::SearchServiceClient;
use serde_json::json;

use crate::Answer;
use crate::connect::{Connection, refused};
use crate::{output, search};

pub(crate) async fn compare(
    channel: Connection,
    first: &Path,
    second: &Path,
    json: bool,
) -> anyhow::Result<Answer> {
    let (first, second) = (search::example(first, 1.0)?, search::example(second, 1.0)?);
    let request = proto::ComparePicturesRequest { first: Some(first), second: Some(second) };
    let mut client = SearchServiceClient::new(channel);
    let answer = client.compare_pictures(request).await.map_err(refused)?.into_inner();
    if json {
        output::json_line(&output::object(json!({
            "verdict": word_of_programs(answer.verdict()),
            "probability": answer.probability,
            "share_of_first": answer.share_of_first,
            "share_of_second": answer.share_of_second,
            "turned_degrees": answer.turned_degrees,
            "inliers": answer.inliers,
            "matches": answer.matches,
            "agreement": answer.agreement,
            "correlation": answer.correlation,
            "supported": answer.supported,
            "stretch": answer.stretch,
            "plainness": answer.plainness,
        })))?;
    } else {
        output::line(said(&answer))?;
    }
    let is_different = matches!(answer.verdict(), Verdict::Different | Verdict::Unspecified);
    Ok(if is_different { Answer::Nothing } else { Answer::Found })
}

/// Returns a verdict as a word without spaces.
pub(crate) fn word_of_programs(verdict: Verdict) -> String {
    word(verdict).replace(' ', "-")
}

/// Says which part of the original an edit shows, both in percent, where it is not all of it and nothing else.
pub(crate) fn edit_of(of_original: f32, of_edit: f32) -> String {
    match (of_original < 97.0, of_edit < 97.0) {
        (false, false) => "edit".to_owned(),
        (true, false) => format!("edit, {of_original} % of it"),
        (false, true) => "edit, with more around it".to_owned(),
        (true, true) => format!("edit, {of_original} % of it and more around it"),
    }
}

pub(crate) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Copy => "copy",
        Verdict::Edit => "edit",
        Verdict::Turned => "turned",
        Verdict::Mirrored => "mirrored",
        Verdict::AnotherShot => "another shot",
        Verdict::Different => "different",
        Verdict::Unspecified => "unknown",
    }
}

/// Says it in a line.
fn said(answer: &proto::ComparePicturesResponse) -> String {
    let percent = |share: f32| (share * 100.0).round();
    let word = word(answer.verdict());
    let turned = match answer.turned_degrees.round() {
        degrees if degrees.abs() < 1.0 => String::new(),
        degrees if degrees > 0.0 => format!(", turned by {degrees} degrees clockwise"),
        degrees => format!(", turned by {} degrees anticlockwise", -degrees),
    };
    if matches!(answer.verdict(), Verdict::Different | Verdict::Unspecified) {
        return format!("{word}: nothing was found in both for sure");
    }
    format!(
        "{word}: {} % of the first is in the second, {} % of the second in the first{turned} ({} places)",
        percent(answer.share_of_first),
        percent(answer.share_of_second),
        answer.inliers
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_is_shared_and_how_it_is_turned() {
        let answer = |verdict: Verdict, turned_degrees| proto::ComparePicturesResponse {
            verdict: verdict.into(),
            probability: 0.9,
            share_of_first: 0.635,
            share_of_second: 1.0,
            turned_degrees,
            inliers: 88,
            ..Default::default()
        };
        let edit = said(&answer(Verdict::Edit, 0.3));
        assert_eq!(
            edit,
            "edit: 64 % of the first is in the second, 100 % of the second in the first (88 places)"
        );
        assert!(said(&answer(Verdict::Turned, -90.2)).contains(", turned by 90 degrees anticlockwise ("));
        assert_eq!(said(&answer(Verdict::Different, 0.0)), "different: nothing was found in both for sure");
    }
}
