//! Token exchange: who may act for whom, where, and what ends it.

mod ahead;
mod cascade;
mod chains;
mod domains;
mod fields;
mod foreign;
mod foreign_faults;
mod foreign_voices;
mod gateway;
mod grants;
mod grants_made;
mod issuers_config;
mod mesh;
mod receipts;
mod reported;
mod rules;
mod support;
mod tokens;
mod txn;
mod txn_checks;
mod txn_rules;
mod txn_stated;
mod txn_voices;
mod voices;
