//! `resemble words` and `describe`

use std::path::Path;

use comfy_table::{Cell, CellAlignment};
use resembled::proto;
use resembled::proto::search_service_client::SearchServiceClient;
use serde_json::json;

use crate::Answer;
use crate::connect::{Connection, refused};
use crate::{output, search};

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
