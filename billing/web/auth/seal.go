package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// KeyBytes is how long a session key is.
const KeyBytes = 32

// maxCookie is how long a cookie's value may be: browsers keep 4096 bytes of one, with its name and attributes.
const maxCookie = 3800

// sealer turns values into texts that nobody without a key can read, make or change (AES-256-GCM, each with a random
// nonce). What is sealed for one purpose does not open for another.
type sealer struct{ keys []cipher.AEAD }

// newSealer seals with the first key, and opens with any.
func newSealer(keys [][]byte) (*sealer, error) {
	s := &sealer{}
	for _, key := range keys {
		if len(key) != KeyBytes {
			return nil, fmt.Errorf("a session key has %d bytes and must have %d", len(key), KeyBytes)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		s.keys = append(s.keys, aead)
	}
	if len(s.keys) == 0 {
		return nil, fmt.Errorf("there is no session key")
	}
	return s, nil
}

// seal returns a text that holds a value.
func (s *sealer) seal(purpose string, value any) (string, error) {
	plain, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.keys[0].Seal(nil, nil, plain, []byte(purpose))), nil
}

// open reads into a value what a text holds, and reports whether it holds one: for this purpose, sealed with a key that
// is known.
func (s *sealer) open(purpose, text string, value any) bool {
	if len(text) > maxCookie {
		return false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return false
	}
	for _, key := range s.keys {
		if plain, err := key.Open(nil, nil, sealed, []byte(purpose)); err == nil {
			return json.Unmarshal(plain, value) == nil
		}
	}
	return false
}
