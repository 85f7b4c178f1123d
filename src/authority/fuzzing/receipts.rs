//! Receipts.

use std::sync::LazyLock;

use crate::authority::clock::Timestamp;
use crate::authority::keys::ReceiptKey;
use crate::authority::keys::ReceiptKeys;
use crate::authority::store::Revision;
use crate::authority::tokens::MAX_RECEIPT_BYTES;
use crate::authority::tokens::Receipt;
use crate::authority::tokens::verify_receipt;

static KEYS: LazyLock<ReceiptKeys> = LazyLock::new(keys);

/// The input as a receipt, and as the payload of one.
pub(crate) fn receipts(input: &[u8]) {
    if let Some(receipt) = Receipt::from_payload(input) {
        // There is one payload that says this.
        assert_eq!(receipt.payload().as_deref(), Some(input));
        if let Some(text) = KEYS.active(Timestamp(0)).and_then(|key| receipt.authenticated(key)) {
            assert!(text.as_str().len() <= MAX_RECEIPT_BYTES);
            let read = verify_receipt(&KEYS, text.as_str(), receipt.iat).map(|verified| verified.receipt);
            assert!(receipt.exp <= receipt.iat || read == Ok(receipt));
        }
    }
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(verified) = verify_receipt(&KEYS, text, Timestamp(10)) {
        assert!(verified.receipt.exp > Timestamp(10) && verified.receipt.iat <= Timestamp(15));
        assert!(verify_receipt(&ReceiptKeys::default(), text, Timestamp(10)).is_err());
        assert!(verify_receipt(&KEYS, text, verified.receipt.exp).is_err());
    }
}

fn keys() -> ReceiptKeys {
    let mut keys = ReceiptKeys::default();
    keys.insert(ReceiptKey::new("seed", Timestamp(0), &[7; 32]), Revision(1));
    keys
}
