package android.os

object Build { object VERSION { @JvmField val SDK_INT = 28 } }
