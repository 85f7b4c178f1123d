//! Adds the present token to requests.

use std::error::Error;
use std::future::Ready;
use std::future::ready;
use std::task::Context;
use std::task::Poll;

use futures_util::TryFutureExt as _;
use futures_util::future::Either;
use futures_util::future::ErrInto;
use hyper::Request;
use hyper::header::AUTHORIZATION;
use tower::Layer;
use tower::Service;

use crate::client::source::TokenSource;
use crate::client::token::TokenError;

type BoxError = Box<dyn Error + Send + Sync>;

/// Sets `authorization: Bearer …` with the present token on each request, replacing any value.
///
/// Without a usable token the request fails with [`TokenError::NoToken`], and nothing is sent.
#[derive(Clone, Debug)]
pub struct BearerLayer {
    source: TokenSource,
}

impl BearerLayer {
    /// A layer that uses the tokens of this source.
    pub fn new(source: TokenSource) -> Self {
        Self { source }
    }
}

impl<S> Layer<S> for BearerLayer {
    type Service = Bearer<S>;

    fn layer(&self, inner: S) -> Bearer<S> {
        Bearer { inner, source: self.source.clone() }
    }
}

/// The service that [`BearerLayer`] makes.
#[derive(Clone, Debug)]
pub struct Bearer<S> {
    inner: S,
    source: TokenSource,
}

impl<S, B> Service<Request<B>> for Bearer<S>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Either<ErrInto<S::Future, BoxError>, Ready<Result<S::Response, BoxError>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Some(token) = self.source.current() else {
            return Either::Right(ready(Err(Box::new(TokenError::NoToken))));
        };
        request.headers_mut().insert(AUTHORIZATION, token.authorization().clone());
        Either::Left(self.inner.call(request).err_into())
    }
}
