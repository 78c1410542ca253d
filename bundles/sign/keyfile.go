package sign

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"golang.org/x/crypto/nacl/secretbox"
	"golang.org/x/crypto/scrypt"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// The PEM block of a secret key under a passphrase holds
//
//	version 1 byte (1) | log2 of scrypt's N 1 byte | salt 16 bytes | nonce 24 bytes | secretbox
//
// The secretbox (XSalsa20-Poly1305) holds the key as PKCS #8. Its key is scrypt(passphrase, salt, N, r = 8, p = 1) (RFC 7914).
const (
	encryptedType    = "TURNBUCKLE ENCRYPTED KEY"
	encryptedVersion = 1
	saltSize         = 16
	nonceSize        = 24
	scryptLogN       = 15 // 32 MiB and some 0.1 s
	maxScryptLogN    = 18 // 256 MiB: a hostile file may cost no more
	scryptR          = 8
	scryptP          = 1
)

// MarshalSecretKey returns a key as a PEM file: PRIVATE KEY (PKCS #8, RFC 5958), or with a passphrase the form of
// FORMAT.md. Keys that a device keeps cannot be marshalled.
func MarshalSecretKey(k SecretKey, passphrase []byte) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return nil, refusal.New(refusal.KeyFile, "a secret key: %w", err)
	}
	if len(passphrase) == 0 {
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
	}
	head := make([]byte, 2+saltSize+nonceSize)
	head[0], head[1] = encryptedVersion, scryptLogN
	if _, err := rand.Read(head[2:]); err != nil {
		return nil, err
	}
	box, err := boxKey(passphrase, head)
	if err != nil {
		return nil, err
	}
	sealed := secretbox.Seal(head, der, (*[nonceSize]byte)(head[2+saltSize:]), box)
	return pem.EncodeToMemory(&pem.Block{Type: encryptedType, Bytes: sealed}), nil
}

func boxKey(passphrase, head []byte) (*[32]byte, error) {
	key, err := scrypt.Key(passphrase, head[2:2+saltSize], 1<<head[1], scryptR, scryptP, 32)
	if err != nil {
		return nil, fmt.Errorf("derive a key from the passphrase: %w", err)
	}
	return (*[32]byte)(key), nil
}

// ParseSecretKey reads a PEM file that MarshalSecretKey, or OpenSSL without a passphrase, wrote. passphrase is asked
// when the key needs one; nil means there is none.
func ParseSecretKey(data []byte, passphrase func() ([]byte, error)) (SecretKey, error) {
	block, err := onlyBlock(data)
	if err != nil {
		return SecretKey{}, err
	}
	der := block.Bytes
	switch block.Type {
	case "PRIVATE KEY":
	case "RSA PRIVATE KEY":
		key, err := x509.ParsePKCS1PrivateKey(der)
		if err != nil {
			return SecretKey{}, refusal.New(refusal.KeyFile, "an RSA secret key: %w", err)
		}
		return NewSecretKey(key)
	case encryptedType:
		if der, err = decrypt(der, passphrase); err != nil {
			return SecretKey{}, err
		}
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return SecretKey{}, refusal.New(refusal.KeyFile, "this is a public key, give the secret one")
	default:
		return SecretKey{}, refusal.New(refusal.KeyFile, "a PEM block %.40q where PRIVATE KEY is wanted", block.Type)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return SecretKey{}, refusal.New(refusal.KeyFile, "a secret key: %w", err)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return SecretKey{}, refusal.New(refusal.KeyFile, "a key of type %T, which cannot sign", parsed)
	}
	return NewSecretKey(signer)
}

// IsSecretKey reports whether data is a file with a secret key and nothing else, ours or another program's.
func IsSecretKey(data []byte) bool {
	if len(data) > MaxKeyFile {
		return false
	}
	block, _ := pem.Decode(data)
	return block != nil && bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN ")) &&
		(block.Type == encryptedType || strings.HasSuffix(block.Type, "PRIVATE KEY"))
}

func decrypt(data []byte, passphrase func() ([]byte, error)) ([]byte, error) {
	const head = 2 + saltSize + nonceSize
	if len(data) < head+secretbox.Overhead || data[0] != encryptedVersion || data[1] < 10 || data[1] > maxScryptLogN {
		return nil, refusal.New(refusal.KeyFile, "an encrypted key that is cut off or of another version")
	}
	if passphrase == nil {
		return nil, refusal.New(refusal.KeyPassphrase, "the key needs a passphrase")
	}
	phrase, err := passphrase()
	if err != nil {
		return nil, fmt.Errorf("ask for the passphrase: %w", err)
	}
	box, err := boxKey(phrase, data)
	if err != nil {
		return nil, err
	}
	der, ok := secretbox.Open(nil, data[head:], (*[nonceSize]byte)(data[2+saltSize:head]), box)
	if !ok {
		return nil, refusal.New(refusal.KeyPassphrase, "the passphrase is wrong, or the key file was changed")
	}
	return der, nil
}

// WriteKeyPair writes name.key (mode 0600) and name.pub. It overwrites neither, and leaves neither behind when it
// fails.
func WriteKeyPair(name string, k SecretKey, passphrase []byte) error {
	secret, err := MarshalSecretKey(k, passphrase)
	if err != nil {
		return err
	}
	if err := writeNew(name+".key", secret, 0o600); err != nil {
		return err
	}
	if err := writeNew(name+".pub", k.public.PEM(), 0o644); err != nil {
		return errors.Join(err, os.Remove(name+".key"))
	}
	return nil
}

func writeNew(path string, data []byte, mode fs.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		if errors.Is(err, fs.ErrExist) {
			return refusal.New(refusal.KeyFile, "%s exists and is not overwritten", path)
		}
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// ReadSecretKey reads a secret key's file, which nobody but its owner may read.
func ReadSecretKey(path string, passphrase func() ([]byte, error)) (SecretKey, error) {
	data, mode, err := readKeyFile(path)
	if err != nil {
		return SecretKey{}, err
	}
	if runtime.GOOS != "windows" && mode.Perm()&0o077 != 0 {
		return SecretKey{}, refusal.New(refusal.KeyFileMode, "%s can be read by others (mode %04o)", path, mode.Perm())
	}
	key, err := ParseSecretKey(data, passphrase)
	if err != nil {
		return SecretKey{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// ReadPublicKey reads a public key's file.
func ReadPublicKey(path string) (PublicKey, error) {
	data, _, err := readKeyFile(path)
	if err != nil {
		return PublicKey{}, err
	}
	key, err := ParsePublicKey(data)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// readKeyFile reads a regular file of bounded size, whose mode is that of what was read.
func readKeyFile(path string) ([]byte, fs.FileMode, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, 0, refusal.New(refusal.KeyFile, "%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, refusal.New(refusal.KeyFile, "%w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	data, err := io.ReadAll(io.LimitReader(file, MaxKeyFile+1))
	return data, info.Mode(), err
}
