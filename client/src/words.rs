//! `resemble words` and `describe`

use std::path::Path;

use comfy_table::{Cell, CellAlignment};
use resembled_api::proto;
use resembled_api::proto::search_service_client::SearchServiceClient;
use serde_json::json;

use crate::Answer;
use crate::connect::{Connection, refused};
use crate::{output, search};

/// Says what words were taken for, and how many photos show that. Beside the table, so that a script reads photos alone.
pub(crate) fn say(answer: &proto::SearchPhotosResponse) {
    said(answer).iter().for_each(|line| eprintln!("{line}"));
}

/// Returns what words were taken for, and how many photos show that, a line each.
pub(crate) fn said(answer: &proto::SearchPhotosResponse) -> Vec<String> {
    let told = |excluded: bool, between: &str| {
        let words = answer.meanings.iter().filter(|meaning| meaning.excluded == excluded);
        let mut told: Vec<(u32, String)> = Vec::new();
        for meaning in words {
            match told.last_mut().filter(|(term, _)| *term == meaning.term) {
                Some((_, words)) => *words += &format!(" or {}", meaning.word),
                None => told.push((meaning.term, meaning.word.clone())),
            }
        }
        told.into_iter().map(|(_, words)| words).collect::<Vec<_>>().join(between)
    };
    let (shown, excluded) = (told(false, " and "), told(true, " or "));
    let but = if excluded.is_empty() { String::new() } else { format!(" without {excluded}") };
    let counted = match (answer.photos_showing, answer.photos_searched) {
        (0, searched) => format!("none of {searched} photos shows {shown}{but}"),
        (1, searched) => format!("1 of {searched} photos shows {shown}{but}"),
        (many, searched) => format!("{many} of {searched} photos show {shown}{but}"),
    };
    let mut lines = vec![counted];
    for meaning in &answer.meanings {
        lines.push(format!("  {}: {}{}", meaning.word, meaning.gloss, kinds(meaning)));
        lines.extend(meaning.other_meanings.iter().map(|other| format!("  not meant: {other}")));
    }
    match answer.photos_waiting {
        0 => {}
        waiting => lines.push(format!("  of {waiting} more photos it will soon be known what they show")),
    }
    lines
}

/// Says which kinds of it the network can tell, where these are so few that others are missed.
fn kinds(meaning: &proto::WordMeaning) -> String {
    let is_label = meaning.kinds.iter().any(|kind| kind.eq_ignore_ascii_case(&meaning.word));
    let is_whole = meaning.kinds.len() == meaning.labels as usize;
    match is_whole && !is_label {
        true => format!(" (only: {})", meaning.kinds.join(", ")),
        false => String::new(),
    }
}

pub(crate) async fn words(channel: Connection, prefix: String, json: bool) -> anyhow::Result<Answer> {
    let mut client = SearchServiceClient::new(channel);
    let request = proto::ListWordsRequest { prefix };
    let list = client.list_words(request).await.map_err(refused)?.into_inner();
    for word in &list.words {
        match json {
            true => output::json_line(&output::object(json!({ "word": word })))?,
            false => output::line(word)?,
        }
    }
    Ok(if list.words.is_empty() { Answer::Nothing } else { Answer::Found })
}

pub(crate) async fn describe(channel: Connection, file: &Path, json: bool) -> anyhow::Result<Answer> {
    let mut client = SearchServiceClient::new(channel);
    let request = proto::DescribePhotoRequest { picture: Some(search::example(file, 1.0)?) };
    let labels = client.describe_photo(request).await.map_err(refused)?.into_inner().labels;
    if json {
        for label in &labels {
            output::json_line(&output::object(
                json!({ "label": label.word, "likelihood": label.likelihood }),
            ))?;
        }
    } else {
        let mut table = output::table(["likely", "label"]);
        for label in &labels {
            let likely = Cell::new(format!("{:.2}", label.likelihood)).set_alignment(CellAlignment::Right);
            table.add_row([likely, Cell::new(&label.word)]);
        }
        output::print(&table)?;
    }
    Ok(if labels.is_empty() { Answer::Nothing } else { Answer::Found })
}
