//! What becomes of receipts, for metrics.

/// An event of a receipt.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ReceiptOutcome {
    /// It was made for an allowed request.
    Made,
    /// None could be made for an allowed request.
    Failed,
    /// It was redeemed.
    Redeemed,
    /// It had been redeemed before, and was redeemed again for the same token.
    SeenAgain,
    /// It was presented, and is under no key that this server knows.
    UnknownKey,
    /// It was presented, and is forged, expired or spent.
    Refused,
}
