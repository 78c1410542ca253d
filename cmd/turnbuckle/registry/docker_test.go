package registry

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

// dockerRegistry starts Debian's docker-registry and returns its address.
func dockerRegistry(t *testing.T, more string) string {
	t.Helper()
	path, err := exec.LookPath("docker-registry")
	if err != nil {
		const what = "there is no docker-registry: make test installs it as root on Debian (.ci/install)"
		if os.Getenv("CI") == "true" {
			t.Fatal(what)
		}
		t.Skip(what)
	}
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: '127.0.0.1:0', secret: x}\n%s", dir, more)
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := processtest.Spawn("docker-registry", dir, processtest.Environment("OTEL_TRACES_EXPORTER=none"), path, "serve", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	m, err := p.Await(`listening on (127\.0\.0\.1:\d+)`)
	if err != nil {
		t.Fatal(err)
	}
	return m[1]
}

func TestDockerRegistry(t *testing.T) {
	host := dockerRegistry(t, "")
	checkRegistry(t, "oci://"+host+"/team", "oci://"+host+"/team/acme/guard", options())
}

func TestDockerRegistryWithPassword(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("me:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := dockerRegistry(t, fmt.Sprintf("auth: {htpasswd: {realm: x, path: %q}}\n", users))
	_, err = Push(t.Context(), "oci://"+host+"/guard", release(), false, options())
	wantCode(t, "nobody", err, refusal.SourceStatus)
	o := options()
	o.Login = func(context.Context, string) (string, string, error) { return "me", "secret", nil }
	checkRegistry(t, "oci://"+host, "oci://"+host+"/acme/guard", o)
	// What docker login writes is read.
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	config := fmt.Sprintf(`{"auths":{%q:{"auth":"bWU6c2VjcmV0"}}}`, host)
	if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Login = nil
	if _, err := Pull(t.Context(), "oci://"+host+"/acme/guard", o); err != nil {
		t.Error(err)
	}
}
