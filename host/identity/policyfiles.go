package identity

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

const maxPolicyFile = 64 << 20 // bytes of a file with all policies

// LoadPolicies reads the policies of a file, an object of policies by their ids as Tyk's policies.json is, or of a folder
// with one policy in each .json, .yaml or .yml file, whose id is the file's name unless it says another. The error names
// every file and policy that is wrong, and then there are no policies.
func LoadPolicies(path string) ([]*Policy, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	load := loadPolicyFile
	if info.IsDir() {
		load = loadPolicyFolder
	}
	policies, err := load(path)
	if err != nil {
		return nil, err
	}
	seen := map[policyName]bool{}
	for _, p := range policies {
		name := policyName{p.OrgID, p.ID}
		if seen[name] {
			err = errors.Join(err, fmt.Errorf("policies: %s: organisation %q has two policies %q", path, p.OrgID, p.ID))
		}
		if p.ID == "" || len(p.ID) > maxPolicyID {
			err = errors.Join(err, fmt.Errorf("policies: %s: policy %.40q: an id has 1 to %d bytes", path, p.ID, maxPolicyID))
		}
		seen[name] = true
	}
	if err != nil {
		return nil, err
	}
	return policies, nil
}

func loadPolicyFile(path string) ([]*Policy, error) {
	data, err := readBounded(path, maxPolicyFile)
	if err != nil {
		return nil, err
	}
	var all map[string]jsontext.Value
	if err := json.Unmarshal(data, &all, decoding); err != nil {
		return nil, fmt.Errorf("policies: %s: must be a JSON object of policies by their ids: %s", path, describe(err))
	}
	var policies []*Policy
	var wrong error
	for id, value := range all {
		p, err := DecodePolicy(value)
		if err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("policies: %s: %q: %w", path, id, err))
			continue
		}
		p.ID = id
		policies = append(policies, p)
	}
	slices.SortFunc(policies, func(a, b *Policy) int { return strings.Compare(a.ID, b.ID) })
	return policies, wrong
}

func loadPolicyFolder(path string) ([]*Policy, error) {
	files, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	var policies []*Policy
	var wrong error
	for _, file := range files {
		extension := strings.ToLower(filepath.Ext(file.Name()))
		if file.IsDir() || strings.HasPrefix(file.Name(), ".") || !slices.Contains([]string{".json", ".yaml", ".yml"}, extension) {
			continue
		}
		p, err := loadOnePolicy(filepath.Join(path, file.Name()))
		if err != nil {
			wrong = errors.Join(wrong, err)
			continue
		}
		p.ID = cmp.Or(p.ID, strings.TrimSuffix(file.Name(), filepath.Ext(file.Name())))
		policies = append(policies, p)
	}
	return policies, wrong
}

func loadOnePolicy(path string) (*Policy, error) {
	data, err := readBounded(path, document.MaxBytes)
	if err != nil {
		return nil, err
	}
	node, problems := document.Parse(path, data)
	if problems.Refused() {
		return nil, fmt.Errorf("policies: %w", problems.Err())
	}
	text, problems := node.JSON()
	if problems.Refused() {
		return nil, fmt.Errorf("policies: %w", problems.Err())
	}
	p, err := DecodePolicy(text)
	if err != nil {
		return nil, fmt.Errorf("policies: %s: %w", path, err)
	}
	return p, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("policies: %w", err)
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("policies: %s: more than %d bytes", path, limit)
	}
	return data, nil
}
