"""Homework 1, written in other styles."""

RIGHT = {}
