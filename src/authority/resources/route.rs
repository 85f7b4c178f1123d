//! The routes of a resource, and which of them a request matches.

use crate::authority::resources::path::PathTemplate;
use crate::authority::resources::path::RequestPath;
use crate::authority::resources::txn::RouteTxn;
use crate::authority::scope::Scope;

/// The requirement of some requests.
#[derive(Clone, Debug)]
pub struct Route {
    /// The methods. An empty list means all.
    pub methods: Vec<String>,
    /// The paths that the route matches.
    pub path: PathTemplate,
    /// The template of these paths, as it was written.
    pub template: String,
    /// What these requests need.
    pub need: Need,
    /// What it says about transaction tokens.
    pub txn: RouteTxn,
}

/// What a request needs to be allowed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Need {
    /// The request needs no token.
    Nothing,
    /// The request needs a token with these scopes. The list may be empty.
    Token(Scope),
}

/// The routes of a resource.
#[derive(Clone, Debug, Default)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// `None` where two routes match the same requests, because their precedence would be ambiguous.
    pub fn new(mut routes: Vec<Route>) -> Option<Self> {
        routes.sort_by(|one, other| (&one.path, one.methods.is_empty()).cmp(&(&other.path, other.methods.is_empty())));
        let clash = |one: &Route, other: &Route| {
            let methods = match (one.methods.is_empty(), other.methods.is_empty()) {
                (true, true) => true,
                // A route for all methods then applies to the remaining ones.
                (true, false) | (false, true) => false,
                (false, false) => one.methods.iter().any(|method| other.methods.contains(method)),
            };
            one.path == other.path && methods
        };
        let mut left = routes.iter();
        while let Some(one) = left.next() {
            if left.clone().take_while(|other| other.path == one.path).any(|other| clash(one, other)) {
                return None;
            }
        }
        Some(Self(routes))
    }

    /// The routes, the most specific first.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    /// The most specific route that a request matches: literal segments before variable ones, those
    /// before `**`, from left to right, and a route for this method before one for all. `None` where no route matches.
    pub fn find(&self, method: &str, path: &RequestPath<'_>) -> Option<&Route> {
        let matches = |route: &&Route| {
            (route.methods.is_empty() || route.methods.iter().any(|one| one == method)) && route.path.matches(path)
        };
        self.0.iter().find(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> RequestPath<'_> {
        RequestPath::parse(target).unwrap_or_else(|_| panic!("{target:?} was refused"))
    }

    #[test]
    fn the_most_specific_route_applies_in_any_order_of_writing() {
        let scope = |text| Need::Token(Scope::parse(text).unwrap());
        let route = |methods: &[&str], path: &str, need: Need| Route {
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            path: PathTemplate::parse(path).unwrap(),
            template: path.to_owned(),
            need,
            txn: RouteTxn::default(),
        };
        let mut routes = vec![
            route(&[], "/**", scope("any")),
            route(&[], "/orders/{id}", scope("one")),
            route(&["GET"], "/orders/{id}", scope("read")),
            route(&["GET"], "/orders/recent", Need::Nothing),
            route(&["GET"], "/{shop}/recent", scope("shop")),
            route(&["GET"], "/orders/**", scope("below")),
        ];
        for _ in 0..routes.len() {
            routes.rotate_left(1);
            let routes = Routes::new(routes.clone()).unwrap();
            for (method, target, expected) in [
                ("GET", "/orders/recent", Need::Nothing),
                ("POST", "/orders/recent", scope("one")),
                ("GET", "/orders/1", scope("read")),
                ("get", "/orders/1", scope("one")),
                ("DELETE", "/orders/1", scope("one")),
                ("GET", "/orders", scope("below")),
                ("GET", "/orders/1/2", scope("below")),
                ("GET", "/books/recent", scope("shop")),
                ("POST", "/books/recent", scope("any")),
            ] {
                let found = routes.find(method, &path(target)).map(|route| &route.need);
                assert_eq!(found, Some(&expected), "{method} {target}");
            }
        }
        assert!(Routes::default().find("GET", &path("/")).is_none());
    }

    #[test]
    fn two_routes_for_the_same_requests_are_refused() {
        let route = |methods: &[&str], path: &str| Route {
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            path: PathTemplate::parse(path).unwrap(),
            template: path.to_owned(),
            need: Need::Nothing,
            txn: RouteTxn::default(),
        };
        assert!(Routes::new(vec![route(&["GET"], "/a/{b}"), route(&["POST", "GET"], "/a/{c}")]).is_none());
        assert!(Routes::new(vec![route(&[], "/a"), route(&["GET"], "/a"), route(&[], "/a")]).is_none());
        assert!(
            Routes::new(vec![route(&["GET"], "/a/{b}"), route(&["POST"], "/a/{c}"), route(&[], "/a/{d}")]).is_some()
        );
        assert!(Routes::new(vec![route(&["GET"], "/a"), route(&["GET"], "/a/")]).is_some());
    }
}
