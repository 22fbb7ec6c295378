package access

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// tokenPrefix lets people, and programs that look for secrets, know a token by sight.
const tokenPrefix = "app_"

// tokenBytes is how many of the bytes of a token are random.
const tokenBytes = 32

// NewToken returns a token for a machine: 256 bits from random, and a checksum by which one that was copied in part is
// told from one that is unknown. Only its hash is kept.
func NewToken(random io.Reader) (string, error) {
	secret := make([]byte, tokenBytes)
	if _, err := io.ReadFull(random, secret); err != nil {
		return "", fmt.Errorf("a new token: %w", err)
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(secret, checksum(secret)...)), nil
}

func checksum(secret []byte) []byte {
	sum := crc32.ChecksumIEEE(secret)
	return []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}
}

// IsToken reports whether a text is a token, whole.
func IsToken(token string) bool {
	text, ours := strings.CutPrefix(token, tokenPrefix)
	if !ours {
		return false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(raw) == tokenBytes+4 && string(raw[tokenBytes:]) == string(checksum(raw[:tokenBytes]))
}

// HashToken is what the configuration has of a token: its SHA-256, in hexadecimal digits.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
