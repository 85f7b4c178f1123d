package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// How far in the future nbf and iat may be. exp has no leeway.
const leeway = 5 * time.Second

// The claims beside the registered ones. A token with an actor is a delegated one, and is refused here.
type claims struct {
	ClientID string         `json:"client_id"`
	Scope    string         `json:"scope"`
	Creation string         `json:"lanyard_creation"`
	Actor    any            `json:"act"`
	Cnf      map[string]any `json:"cnf"`
}

// verify returns the client_id of a token that may be used over a connection with this certificate, or a code. The peer has
// proved that it has the certificate's key, which TLS does.
func (v *copyOf) verify(text string, certificate *x509.Certificate, audience, scope string) (string, error) {
	v.mutex.RLock()
	defer v.mutex.RUnlock()
	now := time.Now()
	if v.age() > v.maxAge {
		return "", errors.New("SNAPSHOT_STALE")
	}
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.EdDSA})
	if err != nil {
		return "", errors.New("TOKEN_MALFORMED")
	}
	header := token.Headers[0]
	typ, _ := header.ExtraHeaders[jose.HeaderType].(string)
	if typ = strings.ToLower(typ); typ != "at+jwt" && typ != "application/at+jwt" {
		return "", errors.New("TOKEN_TYPE")
	}
	key, known := v.keys[header.KeyID]
	if !known || key.Algorithm != header.Algorithm {
		return "", errors.New("UNKNOWN_KEY")
	}
	var registered jwt.Claims
	var more claims
	if err := token.Claims(key.Key, &registered, &more); err != nil {
		return "", errors.New("BAD_SIGNATURE")
	}
	switch {
	case registered.Issuer != v.issuer:
		return "", errors.New("WRONG_ISSUER")
	case registered.Expiry == nil || !now.Before(registered.Expiry.Time()):
		return "", errors.New("TOKEN_EXPIRED")
	case registered.IssuedAt == nil || registered.IssuedAt.Time().After(now.Add(leeway)),
		registered.NotBefore == nil || registered.NotBefore.Time().After(now.Add(leeway)):
		return "", errors.New("TOKEN_NOT_YET_VALID")
	}
	digest := sha256.Sum256(certificate.Raw)
	presented := base64.RawURLEncoding.EncodeToString(digest[:])
	if v.revokes(registered, more, certificate, presented, now) {
		return "", errors.New("REVOKED")
	}
	switch bound, _ := more.Cnf["x5t#S256"].(string); {
	case !registered.Audience.Contains(audience):
		return "", errors.New("WRONG_AUDIENCE")
	case more.Actor != nil:
		return "", errors.New("DELEGATION_NOT_ACCEPTED")
	case bound == "" || len(more.Cnf) != 1:
		return "", errors.New("NOT_BOUND")
	case now.After(certificate.NotAfter) || now.Before(certificate.NotBefore):
		return "", errors.New("CERTIFICATE_EXPIRED")
	case bound != presented:
		return "", errors.New("CERTIFICATE_MISMATCH")
	}
	for _, wanted := range strings.Fields(scope) {
		if !strings.Contains(" "+more.Scope+" ", " "+wanted+" ") {
			return "", errors.New("INSUFFICIENT_SCOPE")
		}
	}
	return more.ClientID, nil
}

// Whether a revocation applies to a token: by itself, its client, its registration, a SPIFFE ID or a certificate.
func (v *copyOf) revokes(token jwt.Claims, more claims, certificate *x509.Certificate, presented string, now time.Time) bool {
	tokens := []string{"all", "jti " + token.ID, "client " + more.ClientID, "registration " + more.Creation, "certificate " + presented}
	if bound, _ := more.Cnf["x5t#S256"].(string); bound != presented {
		tokens = append(tokens, "certificate "+bound)
	}
	ids := []string{more.ClientID}
	for _, uri := range certificate.URIs {
		ids = append(ids, uri.String())
	}
	for _, id := range ids {
		path, isID := strings.CutPrefix(id, "spiffe://")
		if !isID {
			continue
		}
		domain, _, _ := strings.Cut(path, "/")
		tokens = append(tokens, "client "+id, "domain "+domain)
		for at := len("spiffe://"); at < len(id)-1; at++ {
			if id[at] == '/' {
				tokens = append(tokens, "below "+id[:at+1])
			}
		}
	}
	for _, one := range tokens {
		for _, entry := range v.byTokens[one] {
			ended := entry.Expires != nil && now.Unix() >= *entry.Expires
			if !ended && (entry.IssuedUntil == nil || token.IssuedAt.Time().Unix() <= *entry.IssuedUntil) {
				return true
			}
		}
	}
	return false
}
