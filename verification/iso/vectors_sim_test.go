package iso_test

// simEvaluators are the evaluators of the sim.* families.
func simEvaluators() map[string]evaluator { return map[string]evaluator{} }
