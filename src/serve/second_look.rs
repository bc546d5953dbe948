//! The second look at a query and its best matches: what a search calls near is what shows the same scene or thing, as far as
//! that can be told.
//!
//! Invariant: a match that could not be looked at has the band that it would have without, and says why.

use std::sync::Arc;

use tonic::{Code, Status};

use super::blocking::blocking;
use super::connections::ConnectionId;
use super::refuse::{self, Reason};
use super::thumbnails::{self, Asked};
use super::{Api, compare, convert};
use crate::models::Bands;
use crate::photo::PhotoId;
use crate::proto;
use crate::proto::Band;
use crate::verify::{self, LocalFeatures};

/// Matches that are looked at. Of 120 photos in 15 edits each among 1,833, MobileNetV2 has the right one among the first three in
/// 0.98, and among the first five in 0.99.
const MOST: usize = 3;

/// Where the features of a query come from.
pub(super) enum Sight {
    /// They were found in its picture.
    Features(Box<LocalFeatures>),
    /// It is a photo of the index.
    Photo(PhotoId),
}

/// Looks at a query and the matches of a page, which are in their order, and corrects their bands.
pub(super) async fn look(
    api: &Arc<Api>,
    connection: ConnectionId,
    sight: Sight,
    bands: Option<Bands>,
    matches: &mut [proto::Match],
) -> Result<(), Status> {
    let is_meant = |found: &proto::Match| match found.band() {
        Band::Same => false,
        Band::Near | Band::Similar | Band::Related => true,
        Band::Unspecified => bands.is_none(),
    };
    let meant: Vec<usize> =
        (0..matches.len()).filter(|&place| is_meant(&matches[place])).take(MOST).collect();
    let Some(&last) = meant.last() else { return Ok(()) };
    let query = match sight {
        Sight::Features(features) => Ok(Arc::new(*features)),
        Sight::Photo(photo) => of_photo(api, connection, photo).await.map(Arc::new),
    };
    let mut is_one_different = false;
    for place in meant {
        let looked = match &query {
            Ok(query) => look_at(api, connection, query, &matches[place]).await,
            Err(why) => Err(why.clone()),
        };
        let found = &mut matches[place];
        match looked {
            Ok(seen) => {
                let is_different = seen.verdict() == proto::Verdict::Different;
                is_one_different |= is_different;
                found.second_look = Some(seen);
                found.band = match (bands, is_different) {
                    (None, _) => Band::Unspecified,
                    (Some(_), false) => Band::Near,
                    (bands, true) => convert::band(bands, found.distance, false, false),
                }
                .into();
            }
            Err(why) => why.message().clone_into(&mut found.second_look_failed),
        }
    }
    if is_one_different {
        for found in matches.iter_mut().skip(last + 1).filter(|found| found.band() == Band::Near) {
            found.band = convert::band(bands, found.distance, false, false).into();
        }
    }
    Ok(())
}

async fn of_photo(api: &Arc<Api>, connection: ConnectionId, photo: PhotoId) -> Result<LocalFeatures, Status> {
    let reading = Arc::clone(api);
    let record = blocking(move |_| reading.store.read()?.photos()?.get(photo)).await?;
    let record = record.ok_or_else(|| {
        refuse::because(Code::FailedPrecondition, Reason::NoPicture, "the photo has just gone")
    })?;
    thumbnails::features(api, connection, Asked::Name(format!("photos/{}", record.content))).await
}

async fn look_at(
    api: &Arc<Api>,
    connection: ConnectionId,
    query: &Arc<LocalFeatures>,
    found: &proto::Match,
) -> Result<proto::SecondLook, Status> {
    let name = found.photo.as_ref().map_or_else(String::new, |photo| photo.name.clone());
    let photo = thumbnails::features(api, connection, Asked::Name(name)).await?;
    let (query, permit) = (Arc::clone(query), api.limiter.enter(connection).await?);
    blocking(move |_| {
        let _permit = permit;
        let judgement = verify::judge(&verify::compare(&query, &photo));
        let [share_of_query, share_of_photo] = judgement.shared;
        Ok::<_, Status>(proto::SecondLook {
            verdict: compare::verdict(judgement.verdict).into(),
            probability: judgement.probability,
            share_of_query,
            share_of_photo,
            turned_degrees: judgement.turn,
        })
    })
    .await
}
