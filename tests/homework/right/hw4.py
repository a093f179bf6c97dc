"""Homework 4, written in other styles."""

RIGHT = {}
