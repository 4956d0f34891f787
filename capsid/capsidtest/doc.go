// Package capsidtest is the suite that every backend of capsid passes, and the
// cell that the suite runs in it.
//
//	func TestMain(m *testing.M) {
//		capsidtest.Main() // does not return in a cell
//		os.Exit(m.Run())
//	}
//	func TestConformance(t *testing.T) { capsidtest.Run(t, capsidtest.Harness{Backend: b}) }
package capsidtest
