"""Estimators, intervals, ranking and calibration measures. Needs numpy and nothing heavier."""
