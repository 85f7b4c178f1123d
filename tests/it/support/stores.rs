//! Stores around another one, in their field `store`, which is read as it is.

/// The methods of a store that read.
macro_rules! reads_of_the_store {
    () => {
        fn get<'a>(
            &'a self,
            key: &'a str,
        ) -> lanyard::authority::store::StoreFuture<
            'a,
            Option<lanyard::authority::store::Versioned<std::sync::Arc<[u8]>>>,
        > {
            self.store.get(key)
        }

        fn list<'a>(
            &'a self,
            prefix: &'a str,
        ) -> lanyard::authority::store::StoreFuture<'a, lanyard::authority::store::Listing> {
            self.store.list(prefix)
        }

        fn key_revisions<'a>(
            &'a self,
            after: &'a str,
            limit: usize,
        ) -> lanyard::authority::store::StoreFuture<'a, lanyard::authority::store::KeyRevisions> {
            self.store.key_revisions(after, limit)
        }
    };
}
pub(crate) use reads_of_the_store;
