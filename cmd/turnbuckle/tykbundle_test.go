package main

import (
	"archive/zip"
	"bytes"
	"crypto"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"os"
)

// runTykBundle is the program tykbundle, which does what tyk bundle build does: it adds checksum and signature to a manifest,
// and packs the files that the manifest lists, and the manifest behind them.
func runTykBundle(args []string) error {
	flags := flag.NewFlagSet("tykbundle", flag.ContinueOnError)
	manifest := flags.String("m", "manifest.json", "the manifest")
	output := flags.String("o", "bundle.zip", "the bundle")
	keyFile := flags.String("k", "", "an RSA key; none leaves it unsigned")
	if err := flags.Parse(args); err != nil {
		return err
	}
	text, err := os.ReadFile(*manifest)
	if err != nil {
		return err
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	var archive, contents bytes.Buffer
	w := zip.NewWriter(&archive)
	put := func(name string, content []byte) error {
		entry, err := w.Create(name)
		if err == nil {
			_, err = entry.Write(content)
		}
		return err
	}
	names, _ := m["file_list"].([]any)
	for _, name := range names {
		content, err := os.ReadFile(fmt.Sprint(name))
		if err != nil {
			return err
		}
		contents.Write(content)
		if err := put(fmt.Sprint(name), content); err != nil {
			return err
		}
	}
	sum := md5.Sum(contents.Bytes())
	m["checksum"], m["signature"] = hex.EncodeToString(sum[:]), ""
	if *keyFile != "" {
		if m["signature"], err = tykSignature(*keyFile, contents.Bytes()); err != nil {
			return err
		}
	}
	if text, err = json.Marshal(m); err != nil {
		return err
	}
	if err := put("manifest.json", text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(*output, archive.Bytes(), 0o644)
}

func tykSignature(keyFile string, content []byte) (string, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return "", fmt.Errorf("%s is no PEM file", keyFile)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return "", err
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return "", fmt.Errorf("%s is no RSA key", keyFile)
	}
	digest := sha256.Sum256(content)
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	return base64.StdEncoding.EncodeToString(signature), err
}
