//! Clients and resource servers that others wrote, and certificates from openssl.

mod authlib;
mod client_pages;
mod curl;
mod example_clients;
mod exchange;
mod exchange_examples;
mod openid_client;
mod openssl_certificates;
mod python_client;
mod resource_server;
mod verifier_examples;
