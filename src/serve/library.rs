//! `LibraryService`: photos, failures and watched folders.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use tokio::sync::OwnedMutexGuard;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::blocking::blocking;
use super::convert::{self, Roots};
use super::listing::{self, Lists};
use super::refuse::Reason;
use super::{Api, calls, copies, disk, export, files, pages, refuse, thumbnails};
use crate::photo::{FileId, RelativePath, RootId, overlap};
use crate::proto;
use crate::proto::library_service_server::LibraryService;
use crate::store::{StoreError, Write};
use crate::watch::{Omission, Root, WatchError};

/// Photos of one batch at the most.
const MAX_BATCH: usize = 1_000;

/// How long a call waits for another that adds or removes a folder.
const PATIENCE: Duration = Duration::from_secs(10);

/// The service.
pub(super) struct Library {
    api: Arc<Api>,
    lists: Lists,
}

impl Library {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self { api, lists: Lists::new() }
    }

    /// Waits until nobody else adds or removes a folder.
    async fn change_roots(&self) -> Result<OwnedMutexGuard<()>, Status> {
        let changing = tokio::time::timeout(PATIENCE, Arc::clone(&self.api.changing_roots).lock_owned());
        changing.await.map_err(|_| refuse::busy("another folder is being added or removed"))
    }

    /// Asks the store on another thread.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Api) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Status> {
        let api = Arc::clone(&self.api);
        blocking(move |_| work(&api)).await
    }
}

/// The token of a page of omissions: the path of its last row, in hexadecimal since paths are bytes.
fn omission_token(path: &Path) -> String {
    HEXLOWER.encode(path.as_os_str().as_bytes())
}

fn parse_omission_token(token: &str) -> Option<PathBuf> {
    Some(PathBuf::from(OsString::from_vec(HEXLOWER.decode(token.as_bytes()).ok()?)))
}

/// The token of a failure's page: root and path of the last row, in hexadecimal since paths are bytes.
fn failure_token(file: &FileId) -> String {
    format!("{}-{}", file.root.0, HEXLOWER.encode(file.path.as_bytes()))
}

fn parse_failure_token(token: &str) -> Option<FileId> {
    let (root, path) = token.split_once('-')?;
    let path = HEXLOWER.decode(path.as_bytes()).ok()?;
    Some(FileId { root: RootId(root.parse().ok()?), path: RelativePath::from_bytes(path) })
}

#[tonic::async_trait]
impl LibraryService for Library {
    async fn get_photo(
        &self,
        request: Request<proto::GetPhotoRequest>,
    ) -> Result<Response<proto::Photo>, Status> {
        let name = request.into_inner().name;
        let content = convert::parse_photo_name("name", &name)?;
        let photo = self
            .blocking(move |api| {
                let reader = api.store.read()?;
                match reader.photo_with(content)? {
                    Some(photo) => convert::photo(&reader.photos()?, &Roots::of(api), photo),
                    None => Ok(None),
                }
            })
            .await?;
        let mut photo = photo.ok_or_else(|| refuse::not_found("photo", &name))?;
        files::fold_paths(&self.api, vec![&mut photo]).await?;
        Ok(Response::new(photo))
    }

    async fn batch_get_photos(
        &self,
        request: Request<proto::BatchGetPhotosRequest>,
    ) -> Result<Response<proto::BatchGetPhotosResponse>, Status> {
        let names = request.into_inner().names;
        if names.is_empty() || names.len() > MAX_BATCH {
            return Err(refuse::field("names", format_args!("must be 1 to {MAX_BATCH} photos")));
        }
        let contents = names.iter().map(|name| convert::parse_photo_name("names", name));
        let contents = contents.collect::<Result<Vec<_>, _>>()?;
        let photos = self
            .blocking(move |api| {
                let reader = api.store.read()?;
                let (known, roots) = (reader.photos()?, Roots::of(api));
                let photo = |content| match reader.photo_with(content)? {
                    Some(photo) => convert::photo(&known, &roots, photo),
                    None => Ok(None),
                };
                contents.into_iter().map(photo).collect::<Result<Vec<_>, StoreError>>()
            })
            .await?;
        let found = names.iter().zip(photos);
        let found = found.map(|(name, photo)| photo.ok_or_else(|| refuse::not_found("photo", name)));
        let mut photos = found.collect::<Result<Vec<_>, _>>()?;
        files::fold_paths(&self.api, photos.iter_mut().collect()).await?;
        Ok(Response::new(proto::BatchGetPhotosResponse { photos }))
    }

    async fn find_copies(
        &self,
        request: Request<proto::FindCopiesRequest>,
    ) -> Result<Response<proto::FindCopiesResponse>, Status> {
        copies::find(&self.api, request.into_inner()).await.map(Response::new)
    }

    async fn get_thumbnail(
        &self,
        request: Request<proto::GetThumbnailRequest>,
    ) -> Result<Response<proto::Thumbnail>, Status> {
        let connection = calls::connection(&request);
        thumbnails::get(&self.api, connection, request.into_inner()).await.map(Response::new)
    }

    async fn list_photos(
        &self,
        request: Request<proto::ListPhotosRequest>,
    ) -> Result<Response<proto::ListPhotosResponse>, Status> {
        listing::list(&self.api, &self.lists, request.into_inner()).await.map(Response::new)
    }

    type ExportPhotosStream = ReceiverStream<Result<proto::ExportPhotosResponse, Status>>;

    async fn export_photos(
        &self,
        request: Request<proto::ExportPhotosRequest>,
    ) -> Result<Response<Self::ExportPhotosStream>, Status> {
        export::stream(&self.api, request.into_inner()).await.map(Response::new)
    }

    async fn count_photos(
        &self,
        request: Request<proto::CountPhotosRequest>,
    ) -> Result<Response<proto::CountPhotosResponse>, Status> {
        listing::count(&self.api, request.into_inner()).await.map(Response::new)
    }

    async fn list_failures(
        &self,
        request: Request<proto::ListFailuresRequest>,
    ) -> Result<Response<proto::ListFailuresResponse>, Status> {
        let request = request.into_inner();
        let size = pages::size(request.page_size, pages::ROWS)?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(
                parse_failure_token(token)
                    .ok_or_else(|| refuse::field("page_token", "not a token of ListFailures"))?,
            ),
        };
        let response = self
            .blocking(move |api| {
                let listed = api.store.read()?.list_failures(after.as_ref(), size)?;
                let next = if listed.len() == size {
                    listed.last().map(|(file, _)| failure_token(file))
                } else {
                    None
                };
                let roots = Roots::of(api);
                let failures = listed
                    .into_iter()
                    .filter_map(|(file, record)| convert::failure(&roots, &file, record))
                    .collect();
                Ok(proto::ListFailuresResponse { failures, next_page_token: next.unwrap_or_default() })
            })
            .await?;
        Ok(Response::new(response))
    }

    async fn list_omissions(
        &self,
        request: Request<proto::ListOmissionsRequest>,
    ) -> Result<Response<proto::ListOmissionsResponse>, Status> {
        let request = request.into_inner();
        let size = pages::size(request.page_size, pages::ROWS)?;
        let root = match request.root.as_str() {
            "" => None,
            name => Some(convert::parse_root_name("root", name)?),
        };
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(
                parse_omission_token(token)
                    .ok_or_else(|| refuse::field("page_token", "not a token of ListOmissions"))?,
            ),
        };
        let omissions =
            self.api.watch.omissions(root).ok_or_else(|| refuse::not_found("root", &request.root))?;
        let is_later = |omission: &Omission| after.as_ref().is_none_or(|after| omission.path > *after);
        let mut later = omissions.into_iter().filter(is_later).peekable();
        let mut page: Vec<Omission> = later.by_ref().take(size).collect();
        // What is left out twice stands on one page.
        while let Some(twin) = later.next_if(|next| page.last().is_some_and(|last| last.path == next.path)) {
            page.push(twin);
        }
        let next = later.peek().and(page.last()).map(|last| omission_token(&last.path));
        Ok(Response::new(proto::ListOmissionsResponse {
            omissions: page.into_iter().map(convert::omission).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn list_roots(
        &self,
        _request: Request<proto::ListRootsRequest>,
    ) -> Result<Response<proto::ListRootsResponse>, Status> {
        let roots = self
            .blocking(|api| {
                let reader = api.store.read()?;
                api.watch.roots().iter().map(|root| convert::root(api, &reader, root)).collect()
            })
            .await?;
        Ok(Response::new(proto::ListRootsResponse { roots }))
    }

    async fn add_root(
        &self,
        request: Request<proto::AddRootRequest>,
    ) -> Result<Response<proto::Root>, Status> {
        let proto::AddRootRequest { path, uri } = request.into_inner();
        let path = convert::parse_path_or_uri(&path, &uri)?;
        let path = disk::folder(&path).await?;
        let changing = self.change_roots().await?;
        // A removal that still waits to be written down would take the folder with it.
        self.api.writer.flush().await.map_err(Status::from)?;
        if let Some(other) = self.api.watch.roots().into_iter().find(|root| overlap(&path, &root.path)) {
            return Err(refuse::because(
                Code::AlreadyExists,
                Reason::AlreadyWatched,
                format!("{} is watched already", other.path.display()),
            ));
        }
        let root = self
            .blocking(move |api| {
                // Also where the call is given up meanwhile.
                let _changing = changing;
                let id = api.store.add_root(&path, true)?;
                if let Err(error) = api.watch.add_root(Root::new(id, path)) {
                    api.writer.write(Write::RemoveRoot { root: id })?;
                    return Ok(Err(refuse::because(
                        Code::FailedPrecondition,
                        Reason::CannotWatch,
                        error.to_string(),
                    )));
                }
                let reader = api.store.read()?;
                let roots = api.watch.roots();
                match roots.iter().find(|status| status.id == id) {
                    Some(status) => convert::root(api, &reader, status).map(Ok),
                    None => Ok(Err(refuse::stopping())),
                }
            })
            .await??;
        Ok(Response::new(root))
    }

    async fn remove_root(
        &self,
        request: Request<proto::RemoveRootRequest>,
    ) -> Result<Response<proto::RemoveRootResponse>, Status> {
        let name = request.into_inner().name;
        let root = convert::parse_root_name("name", &name)?;
        let changing = self.change_roots().await?;
        if self.api.is_configured(root) {
            return Err(refuse::because(
                Code::FailedPrecondition,
                Reason::Configured,
                "the configuration or the command line names this folder: remove it there, and restart or reload",
            ));
        }
        self.blocking(|api| api.store.check_writable()).await?;
        if !self.api.watch.remove_root(root) {
            return Err(refuse::not_found("root", &name));
        }
        self.blocking(move |api| {
            let _changing = changing;
            api.writer.write(Write::RemoveRoot { root })
        })
        .await?;
        self.api
            .writer
            .flush()
            .await
            .map_err(|error| refuse::internal("the store could not be written", &error))?;
        Ok(Response::new(proto::RemoveRootResponse {}))
    }

    async fn accept_root(
        &self,
        request: Request<proto::AcceptRootRequest>,
    ) -> Result<Response<proto::AcceptRootResponse>, Status> {
        let proto::AcceptRootRequest { path, validate_only, uri } = request.into_inner();
        let path = convert::parse_path_or_uri(&path, &uri)?;
        let Some((root, at)) = self.api.watch.place(&path) else {
            return Err(refuse::because(
                Code::NotFound,
                Reason::NotFound,
                format!(
                    "{} is neither a watched folder nor a drive mounted in one; ListRoots has them",
                    path.display()
                ),
            ));
        };
        let (api, place) = (Arc::clone(&self.api), at.clone());
        let counted =
            disk::ask(&path, move |pulse| api.watch.missing_at(root, &place, &|| pulse.beat())).await?;
        let missing = counted.map_err(|error| match error {
            WatchError::Look { path, source } => refuse::because(
                Code::FailedPrecondition,
                Reason::Unreadable,
                format!("{} cannot be looked at: {source}", path.display()),
            ),
            error => refuse::internal("what is known could not be compared with the disk", &error),
        })?;
        if !validate_only {
            tracing::info!(files = missing.missing, "{} is accepted as it is now", path.display());
            self.api.watch.accept(root, at);
        }
        Ok(Response::new(proto::AcceptRootResponse {
            known_files: missing.known,
            forgotten_files: missing.missing,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_token_is_read_back_and_anything_else_refused() {
        let file = FileId { root: RootId(7), path: RelativePath::from_bytes(b"a/\xff\n.jpg".to_vec()) };
        assert_eq!(parse_failure_token(&failure_token(&file)), Some(file));
        for wrong in ["", "7", "x-00", "7-0", "7-zz", "7-é"] {
            assert_eq!(parse_failure_token(wrong), None, "{wrong}");
        }
    }
}
