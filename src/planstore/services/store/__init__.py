"""The methods of `PlanStore`, by what they are about."""
