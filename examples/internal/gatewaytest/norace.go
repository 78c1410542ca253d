//go:build !race

package gatewaytest

// raceFlag builds the gateway like the test itself, so that what the tests have compiled is used.
const raceFlag = "-race=false"
